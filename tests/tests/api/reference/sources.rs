//! What the sources of a crate declare: modules, items with their members, re-exports and tests. Names are resolved as the
//! compiler does it, as far as these sources need that: by modules, by `use`, by globs, across crates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Fields, ImplItem, Item, TraitItem, Type, UseTree, Visibility};

/// Reads a file; `None` if there is none.
pub(super) type Read<'r> = &'r dyn Fn(&Path) -> Option<String>;

/// Several crates. An item is known by its path from the name of its crate on: `cacheness_core::cache::Cache`.
#[derive(Default)]
pub(super) struct World {
    items: BTreeMap<String, Declared>,
    modules: BTreeMap<String, Module>,
}

#[derive(Default)]
struct Declared {
    public: bool,
    /// Public methods and fields, variants, functions of a trait.
    members: BTreeSet<String>,
}

#[derive(Default)]
struct Module {
    public: bool,
    uses: Vec<Use>,
    /// Inherent implementations: the name of the type as it is written, and the public members.
    impls: Vec<(String, BTreeSet<String>)>,
}

struct Use {
    public: bool,
    path: Vec<String>,
    /// The name it has here; `None` for a glob.
    name: Option<String>,
}

/// Where the items of a file are, and the files of its modules.
struct Place<'p> {
    module: &'p str,
    files: PathBuf,
    in_test: bool,
}

impl World {
    /// Adds a crate; returns the names of its tests.
    pub(super) fn add(&mut self, name: &str, root: &Path, read: Read<'_>) -> BTreeSet<String> {
        let mut tests = BTreeSet::new();
        let place = Place { module: name, files: root.parent().unwrap().to_owned(), in_test: false };
        self.modules.insert(name.to_owned(), Module { public: true, ..Module::default() });
        self.file(root, &place, read, &mut tests);
        self.give_members(name);
        tests
    }

    fn file(&mut self, file: &Path, place: &Place<'_>, read: Read<'_>, tests: &mut BTreeSet<String>) {
        let text = read(file).unwrap_or_else(|| panic!("{} is not there", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.items(parsed.items, place, read, tests);
    }

    fn items(&mut self, items: Vec<Item>, place: &Place<'_>, read: Read<'_>, tests: &mut BTreeSet<String>) {
        for item in items {
            match item {
                Item::Mod(module) => self.module(module, place, read, tests),
                Item::Fn(function) => {
                    if function.attrs.iter().any(is_test) {
                        tests.insert(function.sig.ident.to_string());
                    }
                    let derives = function.attrs.iter().filter_map(derived);
                    derives.for_each(|name| self.declare(place, name, true, []));
                    self.declare(place, function.sig.ident.to_string(), is_public(&function.vis), []);
                }
                Item::Macro(found) => {
                    tests_in(found.mac.tokens, tests);
                    if let Some(name) = found.ident {
                        let exported = found.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
                        let root = place.module.split("::").next().unwrap();
                        let place = Place { module: root, files: PathBuf::new(), in_test: place.in_test };
                        self.declare(&place, name.to_string(), exported, []);
                    }
                }
                // What is only there for tests is no item of the crate.
                _ if place.in_test => {}
                Item::Struct(found) => {
                    let fields = match found.fields {
                        Fields::Named(fields) => fields.named.into_iter().collect(),
                        _ => Vec::new(),
                    };
                    let fields = fields.into_iter().filter(|field| is_public(&field.vis));
                    let fields = fields.filter_map(|field| field.ident).map(|name| name.to_string());
                    self.declare(place, found.ident.to_string(), is_public(&found.vis), fields);
                }
                Item::Enum(found) => {
                    let variants = found.variants.into_iter().map(|variant| variant.ident.to_string());
                    self.declare(place, found.ident.to_string(), is_public(&found.vis), variants);
                }
                Item::Trait(found) => {
                    let functions = found.items.into_iter().filter_map(|item| match item {
                        TraitItem::Fn(function) => Some(function.sig.ident.to_string()),
                        _ => None,
                    });
                    self.declare(place, found.ident.to_string(), is_public(&found.vis), functions);
                }
                Item::Type(found) => self.declare(place, found.ident.to_string(), is_public(&found.vis), []),
                Item::Impl(found) if found.trait_.is_none() => self.inherent(place, found),
                Item::Use(found) => {
                    let public = is_public(&found.vis);
                    let uses = &mut self.modules.get_mut(place.module).unwrap().uses;
                    flatten(found.tree, &mut Vec::new(), public, uses);
                }
                _ => {}
            }
        }
    }

    fn module(&mut self, module: syn::ItemMod, place: &Place<'_>, read: Read<'_>, tests: &mut BTreeSet<String>) {
        let name = module.ident.to_string();
        let path = format!("{}::{name}", place.module);
        let files = place.files.join(&name);
        let in_test = place.in_test || module.attrs.iter().any(is_cfg_test);
        let public = is_public(&module.vis);
        self.modules.insert(path.clone(), Module { public, ..Module::default() });
        let inner = Place { module: &path, files: files.clone(), in_test };
        if let Some((_, items)) = module.content {
            return self.items(items, &inner, read, tests);
        }
        let file = place.files.join(format!("{name}.rs"));
        let file = if read(&file).is_some() { file } else { files.join("mod.rs") };
        self.file(&file, &inner, read, tests);
    }

    fn declare(&mut self, place: &Place<'_>, name: String, public: bool, members: impl IntoIterator<Item = String>) {
        if !place.in_test {
            let members = members.into_iter().collect();
            self.items.insert(format!("{}::{name}", place.module), Declared { public, members });
        }
    }

    fn inherent(&mut self, place: &Place<'_>, found: syn::ItemImpl) {
        let Type::Path(path) = *found.self_ty else { return };
        let Some(name) = path.path.segments.last().map(|segment| segment.ident.to_string()) else { return };
        let members = found.items.into_iter().filter_map(|item| match item {
            ImplItem::Fn(function) => is_public(&function.vis).then(|| function.sig.ident.to_string()),
            ImplItem::Const(constant) => is_public(&constant.vis).then(|| constant.ident.to_string()),
            _ => None,
        });
        self.modules.get_mut(place.module).unwrap().impls.push((name, members.collect()));
    }

    /// Gives the members of inherent implementations to the types, which may stand in other modules.
    fn give_members(&mut self, name: &str) {
        let inside = format!("{name}::");
        let mut given = Vec::new();
        for (path, module) in self.modules.iter().filter(|(path, _)| *path == name || path.starts_with(&inside)) {
            for (of, members) in &module.impls {
                given.extend(self.resolve(path, of).map(|item| (item, members.clone())));
            }
        }
        for (item, members) in given {
            self.items.get_mut(&item).unwrap().members.extend(members);
        }
    }

    /// The item that a name stands for in a module.
    fn resolve(&self, module: &str, name: &str) -> Option<String> {
        let own = format!("{module}::{name}");
        if self.items.contains_key(&own) {
            return Some(own);
        }
        let uses = &self.modules.get(module)?.uses;
        let named = uses.iter().filter(|found| found.name.as_deref() == Some(name));
        let by_name = named.filter_map(|found| {
            let (last, before) = found.path.split_last()?;
            self.resolve(&self.walk(module, before)?, last)
        });
        let globs = uses.iter().filter(|found| found.name.is_none());
        let by_glob = globs.filter_map(|found| {
            let target = self.walk(module, &found.path)?;
            if target == module { None } else { self.resolve(&target, name) }
        });
        by_name.chain(by_glob).next()
    }

    /// The module that a path leads to from another one.
    fn walk(&self, from: &str, path: &[String]) -> Option<String> {
        let mut at = from.to_owned();
        for (place, part) in path.iter().enumerate() {
            at = match part.as_str() {
                "crate" => at.split("::").next()?.to_owned(),
                "self" => at,
                "super" => at.rsplit_once("::")?.0.to_owned(),
                _ if self.modules.contains_key(&format!("{at}::{part}")) => format!("{at}::{part}"),
                _ if place == 0 && self.modules.contains_key(part) => part.clone(),
                _ => return None,
            };
        }
        Some(at)
    }

    /// The item that users of a crate reach by a path in it: through public modules and public re-exports alone.
    fn reached(&self, path: &str) -> Option<&Declared> {
        let (module, name) = path.rsplit_once("::")?;
        let mut parent = String::new();
        for part in module.split("::") {
            parent = if parent.is_empty() { part.to_owned() } else { format!("{parent}::{part}") };
            if !self.modules.get(&parent)?.public {
                return None;
            }
        }
        if let Some(item) = self.items.get(path) {
            return item.public.then_some(item);
        }
        let uses = self.modules[module].uses.iter().filter(|found| found.public);
        let mut targets = uses.filter(|found| found.name.as_deref() == Some(name));
        targets.find_map(|found| {
            let (last, before) = found.path.split_last()?;
            let target = self.walk(module, before)?;
            // A re-export of a name at the root of another crate, or of this one.
            if self.modules[&target].public && !target.contains("::") && target != module {
                return self.reached(&format!("{target}::{last}"));
            }
            self.items.get(&self.resolve(&target, last)?).filter(|item| item.public)
        })
    }

    pub(super) fn has_item(&self, path: &str) -> bool {
        self.reached(path).is_some()
    }

    pub(super) fn has_member(&self, of: &str, name: &str) -> bool {
        self.reached(of).is_some_and(|item| item.members.contains(name))
    }

    /// The public methods and fields of a type.
    pub(super) fn members(&self, of: &str) -> BTreeSet<String> {
        self.reached(of).map(|item| item.members.clone()).unwrap_or_default()
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// `#[test]`, `#[tokio::test]` and their like.
fn is_test(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
}

/// The name of the derive that a function implements.
fn derived(attribute: &Attribute) -> Option<String> {
    if !attribute.path().is_ident("proc_macro_derive") {
        return None;
    }
    let tokens = attribute.meta.require_list().ok()?.tokens.clone();
    tokens.into_iter().next().map(|name| name.to_string())
}

/// The tests in the tokens of a macro: `proptest! { #[test] fn name() .. }`.
fn tests_in(tokens: TokenStream, tests: &mut BTreeSet<String>) {
    let (mut marked, mut after_fn) = (false, false);
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                marked |= group.stream().into_iter().any(|token| token.to_string() == "test");
                tests_in(group.stream(), tests);
            }
            TokenTree::Ident(word) if after_fn => {
                if marked {
                    tests.insert(word.to_string());
                }
                (marked, after_fn) = (false, false);
            }
            TokenTree::Ident(word) => after_fn = word == "fn",
            _ => after_fn = false,
        }
    }
}

fn flatten(tree: UseTree, before: &mut Vec<String>, public: bool, uses: &mut Vec<Use>) {
    let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(*path.tree, before, public, uses);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            uses.push(Use { public, path: before.clone(), name: before.last().cloned() });
        }
        UseTree::Name(name) => uses.push(Use { public, path: with(&name.ident), name: Some(name.ident.to_string()) }),
        UseTree::Rename(name) => {
            uses.push(Use { public, path: with(&name.ident), name: Some(name.rename.to_string()) })
        }
        UseTree::Glob(_) => uses.push(Use { public, path: before.clone(), name: None }),
        UseTree::Group(group) => group.items.into_iter().for_each(|tree| flatten(tree, before, public, uses)),
    }
}
