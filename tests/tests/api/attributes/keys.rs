//! What belongs to the key of a call.

use cacheness::cached;

use super::Runs;

/// Neither `CacheKey` nor `Serialize`.
struct Connection;

#[test]
fn skipped_arguments_do_not_count() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    struct Client;

    impl Client {
        #[cached(skip(self, connection, log))]
        fn ask(&self, connection: &Connection, id: u32, log: &mut Vec<u32>) -> u32 {
            let _ = connection;
            log.push(id);
            RUNS.count()
        }
    }

    let mut log = Vec::new();
    assert_eq!([7, 7, 8].map(|id| Client.ask(&Connection, id, &mut log)), [1, 1, 2]);
    assert_eq!(log, [7, 8]);
}

#[test]
fn key_expressions_stand_for_the_arguments() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    struct Client {
        tenant: u32,
        _connection: Connection,
    }

    impl Client {
        #[cached(key(self.tenant, id.to_ascii_lowercase()))]
        fn ask(&self, id: &str) -> String {
            RUNS.count();
            id.to_owned()
        }

        #[cached(key_func = self.tenant)]
        fn one(&self, _: Connection) -> u32 {
            RUNS.count()
        }
    }

    let client = Client { tenant: 1, _connection: Connection };
    assert_eq!([client.ask("A"), client.ask("a"), client.ask("b")], ["A", "A", "b"]);
    assert_eq!(Client { tenant: 2, _connection: Connection }.ask("x"), "x");
    assert_eq!(RUNS.so_far(), 3);
    assert_eq!([client.one(Connection), client.one(Connection)], [4, 4]);
}

/// One function of two builds: the later one has another parameter.
mod grown {
    use cacheness::cached;

    use super::super::Runs;

    pub(super) static RUNS: Runs = Runs::new();

    #[cached(include_defaults = false)]
    pub(super) fn search(text: &str, limit: u32, filter: Option<&str>, exact: bool) -> u32 {
        let _ = (text, limit, filter, exact);
        RUNS.count()
    }

    pub(super) mod before {
        use cacheness::cached;

        #[cached(include_defaults = false)]
        pub(crate) fn search(text: &str, limit: u32) -> u32 {
            let _ = (text, limit);
            0
        }
    }
}

#[test]
fn arguments_equal_to_their_default_are_left_out() {
    super::in_memory_by_default();
    assert_eq!(grown::search("a", 1, None, false), 1);
    assert_eq!(grown::search("a", 1, None, false), 1);
    assert_eq!(grown::search("a", 1, Some(""), false), 2, "not the default of an Option");
    assert_eq!(grown::search("a", 1, None, true), 3);
    assert_eq!(grown::search("a", 0, None, false), 4);
    assert_eq!(grown::search("", 1, None, false), 5);
    let _ = grown::before::search("a", 1);
}

#[test]
fn an_argument_without_a_default_is_always_part_of_the_key() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[derive(serde::Serialize)]
    enum Color {
        Red,
        Blue,
    }

    #[cached(include_defaults = false)]
    fn paint(color: Color, coats: u32) -> u32 {
        let _ = (color, coats);
        RUNS.count()
    }

    assert_eq!([paint(Color::Red, 0), paint(Color::Blue, 0), paint(Color::Red, 0)], [1, 2, 1]);
}

macro_rules! versions {
    ($($module:ident $version:expr, $body:expr;)*) => {$(
        mod $module {
            pub(super) static CALLS: super::Runs = super::Runs::new();

            #[cacheness::cached(version = $version)]
            pub(super) fn work() -> u32 {
                CALLS.count();
                $body
            }
        }
    )*};
}

versions! {
    first 1, 1;
    second 2, 1;
}

#[test]
fn the_version_is_part_of_the_key() {
    super::in_memory_by_default();
    assert_eq!([first::work(), first::work(), second::work(), second::work()], [1; 4]);
    assert_eq!([first::CALLS.so_far(), second::CALLS.so_far()], [1, 1]);
}

#[test]
fn an_automatic_version_still_hits() {
    super::in_memory_by_default();
    static RUNS: Runs = Runs::new();

    #[cached(version = auto)]
    fn work(n: u32) -> u32 {
        RUNS.count() + n
    }

    assert_eq!([work(1), work(1)], [2, 2]);
}
