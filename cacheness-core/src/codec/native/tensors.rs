//! Tensors by name, as files of safetensors.

mod format;
mod key;
mod tensor;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, btree_map};

pub use safetensors::Dtype;
pub use tensor::{Tensor, TensorElement};

/// Tensors by name, such as the weights of a model: a value that is stored as a file of
/// [safetensors](https://huggingface.co/docs/safetensors).
///
/// They are in the order of their names. Texts by name may go with them.
///
/// ```
/// use cacheness::native::{Tensor, Tensors};
///
/// let mut model = Tensors::new();
/// model.insert("weight", Tensor::from_slice(&[2, 3], &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0])?);
/// model.insert("bias", Tensor::from_slice(&[2], &[0.5_f32, -0.5])?);
/// model.insert_metadata("epoch", "12");
///
/// assert_eq!(model.names().collect::<Vec<_>>(), ["bias", "weight"]);
/// let bias = model.get("bias").and_then(Tensor::as_slice::<f32>);
/// assert_eq!(bias, Some([0.5, -0.5].as_slice()));
/// # Ok::<(), cacheness::CacheError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tensors {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Tensors {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor, and returns the one that had the name before. The name `__metadata__` is taken by the format: a value with
    /// such a tensor cannot be stored.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(name.into(), tensor)
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// All of them with their names, in the order of these.
    pub fn iter(&self) -> TensorsIter<'_> {
        TensorsIter(self.tensors.iter())
    }

    /// Their names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Adds a text that goes with them, and returns the one that had the name before.
    pub fn insert_metadata(&mut self, name: impl Into<String>, text: impl Into<String>) -> Option<String> {
        self.metadata.insert(name.into(), text.into())
    }

    /// The texts that go with them.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// Tensors with their names, see [`Tensors::iter`].
#[derive(Clone, Debug)]
pub struct TensorsIter<'t>(btree_map::Iter<'t, String, Tensor>);

impl<'t> Iterator for TensorsIter<'t> {
    type Item = (&'t str, &'t Tensor);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for TensorsIter<'_> {}

impl<'t> IntoIterator for &'t Tensors {
    type Item = (&'t str, &'t Tensor);
    type IntoIter = TensorsIter<'t>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Tensors {
    type Item = (String, Tensor);
    type IntoIter = btree_map::IntoIter<String, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

impl<N: Into<String>> FromIterator<(N, Tensor)> for Tensors {
    fn from_iter<I: IntoIterator<Item = (N, Tensor)>>(tensors: I) -> Self {
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect();
        Self { tensors, metadata: BTreeMap::new() }
    }
}

impl<N: Into<String>> Extend<(N, Tensor)> for Tensors {
    fn extend<I: IntoIterator<Item = (N, Tensor)>>(&mut self, tensors: I) {
        self.tensors.extend(tensors.into_iter().map(|(name, tensor)| (name.into(), tensor)));
    }
}
