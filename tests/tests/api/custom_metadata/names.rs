//! Kinds and columns by their names.

use super::*;

#[derive(Clone, Debug, PartialEq, CustomMetadata)]
#[metadata(name = "x'; DROP TABLE entries; --")]
struct Hostile {
    #[metadata(index, name = "a\" OR 1=1 --")]
    a: String,
    #[metadata(name = "%_\\ \u{0}é")]
    b: i64,
}

#[test]
fn names_and_values_are_data_whatever_is_in_them() {
    on_each(names_are_data);
}

fn names_are_data(cache: Cache) {
    let kind = "x'; DROP TABLE entries; --";
    let row = Hostile { a: "'; DELETE FROM entries; --".to_owned(), b: -1 };
    cache.put_with("key", &1u8, PutOptions::new().custom(&row)).unwrap();
    cache.put_with("other", &2u8, PutOptions::new().custom(&Hostile { a: "x' OR '1'='1".to_owned(), b: 1 })).unwrap();
    let found = cache.query::<Hostile>().filter(Hostile::A.eq("'; DELETE FROM entries; --")).all().unwrap();
    assert_eq!((found.len(), &found[0].value), (1, &row));
    let by_name = cache.query_custom(kind).matching([("a\" OR 1=1 --", "'; DELETE FROM entries; --")]).all().unwrap();
    assert_eq!((by_name.len(), &by_name[0]["%_\\ \u{0}é"]), (1, &Value::from(-1)));
    assert_eq!(cache.query_custom(kind).filter(Field::custom(kind, "%_\\ \u{0}é").lt(0)).count().unwrap(), 1);
    assert_eq!((Hostile::A.name(), cache.len().unwrap()), ("a\" OR 1=1 --", 2));
}

#[test]
fn an_unknown_kind_or_column_is_refused_with_those_that_there_are() {
    on_each(|cache| {
        let error = cache.query_custom("experiments").all().unwrap_err();
        assert!(error.is_invalid_argument() && error.to_string().contains("there is none"), "{error}");
        filled(&cache, 2);
        let error = cache.query_custom("experimnts").count().unwrap_err();
        assert!(
            error.is_invalid_argument() && error.to_string().contains(r#""experiments", "performance""#),
            "{error}"
        );
        let query = || cache.query_custom("experiments");
        let of = |column: &str| Field::custom("experiments", column);
        let errors = [
            query().matching([("acuracy", 0.1)]).all().unwrap_err(),
            query().filter(!of("acuracy").eq(1)).first().unwrap_err(),
            query().order_by(of("acuracy").asc()).all().unwrap_err(),
            query().avg(of("acuracy")).unwrap_err(),
            cache.query::<Performance>().filter(of("acuracy").ge(1)).delete().unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_invalid_argument() && error.to_string().contains(r#""acuracy""#), "{error}");
            assert!(error.to_string().contains(r#"it has "accuracy", "epochs","#), "{error}");
        }
        assert_eq!(cache.query_custom("performance").matching([("memory_mb", 0)]).count().unwrap(), 1);
        assert_eq!(Cache::in_memory().query::<Experiment>().count().unwrap(), 0, "a type is known without a row");
    });
}

#[test]
fn a_query_by_name_sums_and_orders_as_one_by_type() {
    on_each(|cache| {
        filled(&cache, 20);
        let query = cache.query_custom("experiments").matching([("is_production", true)]);
        let of = |column: &str| Field::custom("experiments", column);
        assert_eq!(query.sum(of("epochs")).unwrap(), 900.into());
        assert!((query.avg(of("accuracy")).unwrap().unwrap() - 0.4).abs() < 1e-9);
        assert_eq!(
            (query.min(of("note")).unwrap(), query.max(of("epochs")).unwrap()),
            (Some("note 0".into()), Some(180.into()))
        );
        let first = query.order_by(of("accuracy").desc()).order_by(of("epochs").asc()).first().unwrap().unwrap();
        assert_eq!(first["experiment_id"], "exp_008".into());
        let newest = cache
            .query_custom("experiments")
            .order_by(Field::from(EntryField::CreatedAt).desc())
            .limit(1)
            .all()
            .unwrap();
        assert_eq!(newest.len(), 1);
    });
}
