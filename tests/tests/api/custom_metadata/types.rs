//! Columns of every type.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Draft,
    Final,
}

impl From<Stage> for Value {
    fn from(stage: Stage) -> Self {
        if stage == Stage::Draft { "draft".into() } else { "final".into() }
    }
}

impl cacheness::query::ColumnValue for Stage {
    const TYPE: cacheness::query::ColumnType = cacheness::query::ColumnType::Text;
    type Operand<'a> = Self;

    fn to_value(&self) -> Value {
        (*self).into()
    }

    fn from_value(value: &Value) -> Option<Self> {
        [Self::Draft, Self::Final].into_iter().find(|stage| cacheness::query::ColumnValue::to_value(stage) == *value)
    }
}

mod every_type {
    use super::*;

    #[derive(Clone, Debug, PartialEq, CustomMetadata)]
    #[metadata(name = "every type")]
    pub(super) struct Row {
        pub(super) r#bool: bool,
        pub(super) i8: i8,
        pub(super) i16: i16,
        pub(super) i32: i32,
        pub(super) i64: i64,
        pub(super) isize: isize,
        pub(super) u8: u8,
        pub(super) u16: u16,
        pub(super) u32: u32,
        pub(super) u64: u64,
        pub(super) usize: usize,
        pub(super) f32: f32,
        pub(super) f64: f64,
        pub(super) text: String,
        pub(super) at: Timestamp,
        pub(super) system: SystemTime,
        pub(super) took: Duration,
        pub(super) stage: Stage,
        pub(super) none: Option<Duration>,
        pub(super) some: Option<Stage>,
    }
}

#[test]
fn a_column_of_every_type_reads_back_as_it_was() {
    use every_type::Row;
    let system = SystemTime::UNIX_EPOCH + Duration::from_micros(1_234_567_890_123_456);
    let row = Row {
        r#bool: true,
        i8: i8::MIN,
        i16: i16::MIN,
        i32: i32::MIN,
        i64: i64::MIN,
        isize: isize::MIN,
        u8: u8::MAX,
        u16: u16::MAX,
        u32: u32::MAX,
        u64: u64::MAX,
        usize: usize::MAX,
        f32: f32::MIN_POSITIVE,
        f64: -0.0,
        text: "é\u{0}".to_owned(),
        at: Timestamp::MIN,
        system,
        took: Duration::MAX,
        stage: Stage::Final,
        none: None,
        some: Some(Stage::Draft),
    };
    for backend in ["sled", "sqlite"] {
        let dir = tempfile::tempdir().unwrap();
        let open = || Cache::new(CacheConfig::new(dir.path()).with_backend(backend)).unwrap();
        let cache = open();
        cache.put_with("key", &1u8, PutOptions::new().custom(&row)).unwrap();
        cache.close().unwrap();
        let cache = open();
        assert_eq!(cache.get_custom::<Row>("key").unwrap().unwrap(), row);
        let all = Row::BOOL.eq(true) & Row::U64.eq(u64::MAX) & Row::I64.lt(0) & Row::SYSTEM.le(system);
        let all = all & Row::TOOK.gt(Duration::from_secs(1)) & Row::STAGE.eq(Stage::Final) & Row::NONE.is_null();
        let all = all & Row::SOME.ne(Stage::Final) & Row::AT.lt(Timestamp::from_micros(0)) & Row::F32.gt(0.0);
        assert_eq!(cache.query::<Row>().filter(all).count().unwrap(), 1);
        assert_eq!(cache.query::<Row>().sum(Row::U64).unwrap(), i128::from(u64::MAX));
    }
    let column: Column<Row, u64> = Row::U64;
    assert_eq!(column.name(), "u64");
}
