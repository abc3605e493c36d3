//! Types that have changed since their rows were stored.

use super::*;
use crate::config::Limits;

/// The same kind by other versions of its type.
mod changed {
    use super::*;

    macro_rules! version {
        ($name:ident, $type:ty, $read:ident) => {
            #[derive(Debug)]
            pub(super) struct $name(pub(super) $type);

            #[allow(dead_code)]
            impl $name {
                pub(super) const SIZE: Column<$name, $type> = Column::new("versions", "size");
            }

            impl CustomMetadata for $name {
                const SCHEMA: &'static Schema =
                    &Schema::new("versions", &[ColumnSchema::of::<$type>("size").indexed()]);

                fn to_row(&self) -> Metadata {
                    [("size".to_owned(), Value::from(self.0.clone()))].into()
                }

                fn from_row(row: &Metadata) -> Result<Self> {
                    Self::SCHEMA.$read(row, "size").map(Self)
                }
            }
        };
    }

    version!(Whole, u64, read);
    version!(Small, u8, read);
    version!(Fraction, f64, read);
    version!(Written, String, read);
    version!(Maybe, Option<u64>, read);
    version!(Defaulted, u64, read_or_default);

    #[derive(Debug)]
    pub(super) struct Before;

    impl CustomMetadata for Before {
        const SCHEMA: &'static Schema = &Schema::new("versions", &[ColumnSchema::of::<u8>("gone")]);

        fn to_row(&self) -> Metadata {
            [("gone".to_owned(), 1.into())].into()
        }

        fn from_row(_: &Metadata) -> Result<Self> {
            Ok(Self)
        }
    }
}

fn put_custom<E: CustomMetadata>(cache: &Cache, key: &str, row: &E) {
    cache.put_with(key, &1u8, PutOptions::new().custom(row)).unwrap();
}

fn assert_another_type(error: &CacheError, stored: &str, wanted: &str) {
    assert!(error.is_serialization(), "{error:?}");
    for part in ["`versions`", "`size`", stored, wanted] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn a_column_whose_type_has_changed_is_an_error_that_names_both_types_and_the_entry() {
    use changed::*;
    on_each(CacheConfig::in_memory(), |cache| {
        put_custom(&cache, "old", &Whole(7));
        put_custom(&cache, "new", &Fraction(0.5));
        let name = "old".to_key().unwrap().to_string();
        let query = || cache.query::<Fraction>();
        let errors = [
            query().all().unwrap_err(),
            query().order_by(Fraction::SIZE.asc()).first().unwrap_err(),
            query().filter(Fraction::SIZE.gt(0.1)).count().unwrap_err(),
            query().filter(Fraction::SIZE.eq(99.0)).all().unwrap_err(),
            query().order_by(Fraction::SIZE.asc()).all().unwrap_err(),
            query().avg(Fraction::SIZE).unwrap_err(),
            query().filter(Fraction::SIZE.eq(99.0)).delete().unwrap_err(),
        ];
        for error in errors {
            assert_another_type(&error, "integer", "float");
            assert!(error.to_string().contains(&name), "{error}");
        }
        assert_another_type(&cache.get_custom::<Written>("old").unwrap_err(), "integer", "text");
        assert_eq!(cache.query::<Fraction>().count().unwrap(), 2, "a query that does not ask for the column");
        cache.put_with("old", &1u8, PutOptions::new().custom(&Fraction(1.5))).unwrap();
        assert_eq!(query().filter(Fraction::SIZE.gt(0.1)).count().unwrap(), 2, "stored anew");
    });
}

#[test]
fn a_column_that_became_narrower_reads_what_fits() {
    use changed::*;
    on_each(CacheConfig::in_memory(), |cache| {
        put_custom(&cache, "fits", &Whole(200));
        assert_eq!(cache.get_custom::<Small>("fits").unwrap().unwrap().0, 200);
        put_custom(&cache, "does not", &Whole(300));
        let error = cache.query::<Small>().all().unwrap_err();
        assert!(
            error.is_serialization() && error.to_string().contains("300") && error.to_string().contains("u8"),
            "{error}"
        );
        assert!(cache.query::<Small>().max(Small::SIZE).unwrap_err().is_serialization());
        assert_eq!(cache.query::<Small>().filter(Small::SIZE.lt(250)).all().unwrap().len(), 1);
    });
}

#[test]
fn a_column_that_is_new_is_null_or_its_default_in_older_rows_and_one_that_is_gone_is_ignored() {
    use changed::*;
    on_each(CacheConfig::in_memory(), |cache| {
        put_custom(&cache, "old", &Before);
        assert_eq!(cache.get_custom::<Maybe>("old").unwrap().unwrap().0, None);
        assert_eq!(cache.get_custom::<Defaulted>("old").unwrap().unwrap().0, 0);
        let error = cache.get_custom::<Whole>("old").unwrap_err();
        assert!(error.is_serialization() && error.to_string().contains("#[metadata(default)]"), "{error}");
        put_custom(&cache, "new", &Maybe(Some(3)));
        assert!(cache.get_custom::<Before>("new").unwrap().is_some());
        assert_eq!(cache.query::<Maybe>().filter(Maybe::SIZE.is_null()).count().unwrap(), 1);
        assert_eq!(cache.query::<Maybe>().filter(Maybe::SIZE.ge(0)).count().unwrap(), 1);
        let sizes: Vec<_> =
            cache.query::<Maybe>().order_by(Maybe::SIZE.asc()).all().unwrap().iter().map(|found| found.0).collect();
        assert_eq!(sizes, [Some(3), None], "nulls last");
        let sizes: Vec<_> = cache
            .query::<Maybe>()
            .order_by(Maybe::SIZE.desc().nulls_first())
            .all()
            .unwrap()
            .iter()
            .map(|found| found.0)
            .collect();
        assert_eq!(sizes, [None, Some(3)], "nulls first");
    });
}

#[test]
fn metadata_over_the_limit_is_refused_and_nothing_is_stored() {
    let limits = Limits { max_header_bytes: 500, ..Limits::default() };
    on_each(CacheConfig::in_memory().with_limits(limits), |cache| {
        put_custom(&cache, "small", &changed::Written("x".repeat(100)));
        let large = PutOptions::new().custom(&changed::Written("x".repeat(1000)));
        let error = cache.put_with("large", &1u8, large).unwrap_err();
        assert!(error.is_limit() && error.to_string().contains("max_header_bytes"), "{error}");
        assert_eq!(cache.query::<changed::Written>().count().unwrap(), 1);
    });
}
