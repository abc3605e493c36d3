//! Whether a configuration names the database of its index, and nothing that this has no use for.

use super::CacheConfig;
use super::backends;
use super::parts::{CONNECTION_URL, DATABASE_URL};
use super::validate::{Faults, check_options};

impl CacheConfig {
    pub(super) fn check_database(&self, faults: &mut Faults) {
        let metadata = &self.metadata;
        let backend = metadata.backend.as_str();
        if let Some(url) = &metadata.database_url {
            let rule = "it is in metadata.options, too: leave one of them out";
            faults.unless(!metadata.options.contains_key(DATABASE_URL), "metadata.database_url", url, rule);
            if backend != super::SQLITE && backends::METADATA.is_built_in(backend) {
                let rule = format!("the backend `{backend}` has no such database, leave it out or choose `sqlite`");
                faults.add("metadata.database_url", url, &rule);
            }
        }
        if let Some(url) = &metadata.connection_url {
            let rule = "it is in metadata.options, too: leave one of them out";
            faults.unless(!metadata.options.contains_key(CONNECTION_URL), "metadata.connection_url", url, rule);
            let reaches_one = [super::POSTGRESQL, super::REDIS].contains(&backend);
            if !reaches_one && backends::METADATA.is_built_in(backend) {
                let rule = format!(
                    "the backend `{backend}` reaches no server, leave it out or choose `postgresql` or `redis`"
                );
                faults.add("metadata.connection_url", url, &rule);
            }
        }
        match backend {
            super::SQLITE => self.check_sqlite(faults),
            super::POSTGRESQL => self.check_postgresql(faults),
            super::REDIS => self.check_redis(faults),
            _ => check_options(faults, &backends::METADATA, backend, "metadata.options", &metadata.options),
        }
    }

    /// Without the feature there is no such backend, which is said elsewhere.
    #[cfg(not(feature = "sqlite"))]
    fn check_sqlite(&self, _: &mut Faults) {}

    #[cfg(feature = "sqlite")]
    fn check_sqlite(&self, faults: &mut Faults) {
        let metadata = &self.metadata;
        if let Some(url) = &metadata.database_url
            && let Err(rule) = super::sqlite::path_in(url)
        {
            faults.add("metadata.database_url", url, &rule);
        }
        let options = backends::BackendOptions::of(&backends::METADATA, "".as_ref(), &metadata.options);
        if let Err(error) = super::sqlite::SqliteOptions::of(&options) {
            faults.add_error(&error);
        }
    }

    #[cfg(not(feature = "postgresql"))]
    fn check_postgresql(&self, _: &mut Faults) {}

    #[cfg(feature = "postgresql")]
    fn check_postgresql(&self, faults: &mut Faults) {
        self.check_server(faults, "postgresql://user:password@host/database", super::postgresql::PostgresOptions::of);
    }

    #[cfg(not(feature = "redis"))]
    fn check_redis(&self, _: &mut Faults) {}

    #[cfg(feature = "redis")]
    fn check_redis(&self, faults: &mut Faults) {
        self.check_server(faults, "redis://user:password@host:6379/0", super::redis::RedisOptions::of);
    }

    #[cfg(any(feature = "postgresql", feature = "redis"))]
    fn check_server<T>(
        &self,
        faults: &mut Faults,
        form: &str,
        of: impl Fn(&backends::BackendOptions) -> crate::error::Result<T>,
    ) {
        let options = self.metadata.backend_options();
        if !options.contains_key(CONNECTION_URL) {
            let rule = format!("the backend `{}` needs the address of a server: {form}", self.metadata.backend);
            faults.add("metadata.connection_url", &self.metadata.connection_url, &rule);
            return;
        }
        let options = backends::BackendOptions::of(&backends::METADATA, "".as_ref(), &options);
        if let Err(error) = of(&options) {
            faults.add_error(&error);
        }
    }
}
