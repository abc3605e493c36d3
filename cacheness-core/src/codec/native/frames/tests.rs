use polars_core::prelude::*;
use proptest::prelude::{ProptestConfig, Strategy, prop_assert, proptest};

use super::*;
use crate::codec::native::table::tests::{ARROW, PARQUET, any_codec, sources, written};
use crate::util::threads::caught;

const LIMIT: u64 = 1 << 24;

/// Equal, and of the same types: those of categories too.
fn is_same(one: &DataFrame, other: &DataFrame) -> bool {
    one.schema() == other.schema() && one.height() == other.height() && one.equals_missing(other)
}

#[track_caller]
fn assert_comes_back(frame: &DataFrame, options: NativeOptions) {
    let bytes =
        written(frame, options).unwrap_or_else(|error| panic!("{} {:?}: {error}", options.format, frame.dtypes()));
    for source in sources(&bytes) {
        let back = DataFrame::read(options.format, source, LIMIT)
            .unwrap_or_else(|error| panic!("{} {:?}: {error}", options.format, frame.dtypes()));
        assert!(is_same(frame, &back), "{} {:?} {:?}", options.format, frame, back);
    }
}

pub(crate) fn types() -> Vec<DataType> {
    use DataType::*;
    let mut types = vec![
        Boolean,
        String,
        Binary,
        Null,
        Int8,
        Int16,
        Int32,
        Int64,
        Int128,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        UInt128,
        Float16,
        Float32,
        Float64,
        Decimal(9, 2),
        Decimal(38, 10),
        Date,
        Time,
        DataType::from_categories(Categories::global()),
        DataType::from_frozen_categories(FrozenCategories::new(["b", "a", "0", "1", "2", "3"]).unwrap()),
    ];
    for unit in [TimeUnit::Milliseconds, TimeUnit::Microseconds, TimeUnit::Nanoseconds] {
        let zone = |name: &str| TimeZone::opt_try_new(Some(name)).unwrap();
        types.extend([Datetime(unit, None), Datetime(unit, zone("UTC")), Datetime(unit, zone("Europe/Berlin"))]);
        types.push(Duration(unit));
    }
    types
}

/// Values of a type, some of them null.
pub(crate) fn series(data_type: &DataType, rows: usize, nulls: bool) -> Series {
    let numbers = (0..rows).map(|n| (!nulls || n % 3 > 0).then_some(n as i32 % 4));
    series_of(data_type, &numbers.collect::<Vec<_>>())
}

/// Numbers as values of a type; those that it does not have are null.
fn series_of(data_type: &DataType, numbers: &[Option<i32>]) -> Series {
    let is_of_categories = matches!(data_type, DataType::Categorical(..) | DataType::Enum(..));
    let numbers = numbers.iter().map(|number| number.map(|number| if is_of_categories { number % 4 } else { number }));
    let numbers = Series::new("values".into(), numbers.collect::<Vec<_>>());
    let cast = match data_type {
        DataType::Null => Ok(Series::new_null("values".into(), numbers.len())),
        DataType::Categorical(..) | DataType::Enum(..) | DataType::Binary => {
            numbers.cast(&DataType::String).and_then(|texts| texts.cast(data_type))
        }
        DataType::Time => numbers.cast(&DataType::Int64).and_then(|numbers| numbers.cast(data_type)),
        _ => numbers.cast(data_type),
    };
    cast.unwrap_or_else(|error| panic!("{data_type}: {error}"))
}

#[test]
fn every_type_comes_back_alone_and_in_lists_arrays_and_structs() {
    for data_type in types() {
        for (rows, nulls) in [(0, false), (1, false), (6, true), (6, false)] {
            let plain = series(&data_type, rows, nulls).into_column();
            let pair = [plain.clone().with_name("a".into()), plain.clone().with_name("b".into())];
            let nested = StructChunked::from_columns("pair".into(), rows, &pair).unwrap().into_series().into_column();
            let list = plain.as_materialized_series().implode().unwrap().into_series().with_name("list".into());
            let width = ReshapeDimension::new_dimension(2);
            let pairs = plain.as_materialized_series().slice(0, rows / 2 * 2);
            let array = pairs.reshape_array(&[ReshapeDimension::Infer, width]).unwrap().into_column();
            for frame in [vec![plain], vec![nested], vec![list.into_column()], vec![array]] {
                let frame = DataFrame::new_infer_height(frame).unwrap();
                for options in [ARROW, PARQUET] {
                    if data_type != DataType::Float16 || options == ARROW {
                        assert_comes_back(&frame, options);
                    }
                }
            }
        }
    }
}

/// So many rows of a type, or of lists of up to two, arrays of two or structs of two of its values.
fn any_column(rows: usize) -> impl Strategy<Value = Series> {
    let numbers = proptest::collection::vec(proptest::option::of(0..60_000_i32), 2 * rows);
    let lengths = proptest::collection::vec(0..3_usize, rows);
    (proptest::sample::select(types()), numbers, lengths, 0..4).prop_map(move |(data_type, numbers, lengths, shape)| {
        let (all, name) = (series_of(&data_type, &numbers), PlSmallStr::from("column"));
        let plain = all.slice(0, rows);
        match shape {
            0 => plain,
            1 if rows > 0 => {
                let lists = lengths.iter().enumerate().map(|(n, length)| all.slice(2 * n as i64, *length));
                Series::new(name, lists.collect::<Vec<_>>())
            }
            1 => Series::new_empty(name, &DataType::List(Box::new(data_type))),
            2 => {
                let width = ReshapeDimension::new_dimension(2);
                all.reshape_array(&[ReshapeDimension::new_dimension(rows as u64), width]).unwrap()
            }
            _ => {
                let fields = [plain.with_name("a".into()), all.slice(rows as i64, rows).with_name("b".into())];
                StructChunked::from_series(name, rows, fields.iter()).unwrap().into_series()
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_frame_of_any_types_comes_back_or_is_refused_before_anything_is_written(
        columns in (0..40_usize).prop_flat_map(|rows| proptest::collection::vec(any_column(rows), 1..4)),
        codec in any_codec(),
    ) {
        let named = columns.into_iter().enumerate().map(|(n, column)| column.with_name(format!("c{n}").into()).into_column());
        let frame = DataFrame::new_infer_height(named.collect()).unwrap();
        assert_comes_back(&frame, ARROW);
        let options = NativeOptions { parquet: codec, ..PARQUET };
        let mut bytes = Vec::new();
        match frame.write(options, &mut bytes) {
            Ok(()) => assert_comes_back(&frame, options),
            Err(error) => {
                prop_assert!(bytes.is_empty());
                prop_assert!(error.to_string().ends_with("use the format `arrow`"), "{}", error);
            }
        }
    }
}

#[test]
fn a_type_that_parquet_does_not_hold_is_refused_with_the_name_of_the_column() {
    let halves = series(&DataType::Float16, 3, false).with_name("halves".into());
    let list = halves.implode().unwrap().into_series().with_name("halves".into());
    for halves in [halves, list] {
        let mut bytes = Vec::new();
        let text = halves.write(PARQUET, &mut bytes).unwrap_err().to_string();
        assert!(text.contains("`halves`") && text.ends_with("use the format `arrow`") && bytes.is_empty(), "{text}");
    }
}

#[test]
fn floats_come_back_bit_for_bit() {
    let special = [f64::NAN.to_bits() | 0x1234, f64::INFINITY.to_bits(), (-0.0_f64).to_bits()];
    let random = (0..500_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let floats: Vec<f64> = random.chain(special).map(f64::from_bits).collect();
    let bits = |series: &Series| series.f64().unwrap().iter().map(|float| float.map(f64::to_bits)).collect::<Vec<_>>();
    for cut in [0, 1, 499, 502] {
        let series = Series::new("floats".into(), &floats).slice(cut, 600);
        for options in [ARROW, PARQUET] {
            let bytes = written(&series, options).unwrap();
            let back = Series::read(options.format, Source::of_bytes(bytes), LIMIT).unwrap();
            assert_eq!(back.name(), series.name());
            assert_eq!(bits(&back), bits(&series));
        }
    }
}

#[test]
fn frames_without_rows_or_columns_come_back() {
    for options in [ARROW, PARQUET] {
        assert_comes_back(&DataFrame::empty(), options);
        assert!(written(&DataFrame::empty_with_height(3), options).unwrap_err().to_string().contains("no columns"));
    }
}

#[test]
fn a_frame_comes_back_by_every_codec_and_lazily() {
    let columns = [series(&DataType::Int64, 5000, true), series(&DataType::String, 5000, false).with_name("b".into())];
    let frame = DataFrame::new_infer_height(columns.map(IntoColumn::into_column).into()).unwrap();
    for parquet in [ParquetCodec::None, ParquetCodec::Lz4, ParquetCodec::Zstd, ParquetCodec::Snappy] {
        assert_comes_back(&frame, NativeOptions { parquet, ..PARQUET });
    }
    for options in [ARROW, PARQUET] {
        let bytes = written(&frame.clone().lazy(), options).unwrap();
        let back = LazyFrame::read(options.format, Source::of_bytes(bytes), LIMIT).unwrap();
        assert!(is_same(&back.collect().unwrap(), &frame));
    }
}

#[test]
fn a_frame_of_several_row_groups_comes_back_with_its_categories_and_lists() {
    let rows = 2 * GROUP_ROWS + 1000;
    let words = series(&DataType::from_categories(Categories::global()), rows, true);
    let small = series(&DataType::Int8, rows, false).with_name("small".into());
    let listed = series(&DataType::UInt8, rows, true)
        .reshape_list(&[ReshapeDimension::new_dimension(rows as u64), ReshapeDimension::new_dimension(1)]);
    let listed = listed.unwrap().with_name("listed".into());
    let frame = DataFrame::new_infer_height(vec![words.into(), small.into(), listed.into()]).unwrap();
    let bytes = written(&frame, PARQUET).unwrap();
    let back = DataFrame::read(NativeFormat::Parquet, Source::of_bytes(bytes), 1 << 30).unwrap();
    assert!(back.columns().iter().all(|column| column.n_chunks() > 1), "it is one row group");
    assert!(is_same(&frame, &back));
}

#[test]
fn a_plan_whose_frame_takes_more_than_is_allowed_is_refused_before_it_is_written() {
    let plan = series(&DataType::Int64, 1000, false).into_frame().lazy();
    const { assert!(LazyFrame::IS_PLAN) };
    for options in [PARQUET, ARROW] {
        assert!(written(&plan, NativeOptions { limit: 8000, ..options }).is_ok());
        let error = written(&plan, NativeOptions { limit: 7999, ..options }).unwrap_err().to_string();
        assert_eq!(error, "the data frame takes 8000 bytes, the limit `max_value_bytes` is 7999");
    }
}

#[test]
fn texts_take_what_says_where_they_are() {
    let texts = series(&DataType::String, 1000, false);
    assert!((16_000..24_000).contains(&texts.size()), "{}", texts.size());
    let pair = [texts.clone().with_name("a".into()), texts.clone().with_name("b".into())];
    let pairs = StructChunked::from_series("pairs".into(), 1000, pair.iter()).unwrap().into_series();
    assert!((32_000..48_000).contains(&pairs.size()), "{}", pairs.size());
    let list = texts.implode().unwrap().into_series();
    assert!((16_000..24_000).contains(&list.size()), "{}", list.size());
}

#[test]
fn nulls_that_take_as_much_as_arrays_count_as_such_and_are_not_in_lists() {
    let array = DataType::Array(Box::new(DataType::Int64), 4_000_000);
    let nulls = Series::full_null("arrays".into(), 1, &array);
    let bytes = written(&nulls, PARQUET).unwrap();
    assert!(bytes.len() < 10_000, "{}", bytes.len());
    let error = Series::read(NativeFormat::Parquet, Source::of_bytes(bytes), 1 << 20).unwrap_err();
    assert!(error.to_string().contains("more than a value may have"), "{error}");
    let list = series(&DataType::Int8, 4, false)
        .reshape_array(&[ReshapeDimension::new_dimension(2), ReshapeDimension::new_dimension(2)])
        .and_then(|array| array.implode())
        .unwrap()
        .into_series();
    assert!(written(&list, PARQUET).unwrap_err().to_string().ends_with("use the format `arrow`"));
    assert_comes_back(&list.into_frame(), ARROW);
}

#[test]
fn damaged_files_do_no_harm() {
    let columns = [series(&DataType::Int64, 20, true), series(&DataType::String, 20, false).with_name("b".into())];
    let frame = DataFrame::new_infer_height(columns.map(IntoColumn::into_column).into()).unwrap();
    for options in [ARROW, PARQUET] {
        let bytes = written(&frame, options).unwrap();
        // Panics of the library are for the caller to catch.
        for length in 0..bytes.len() {
            let cut = Source::of_bytes(bytes[..length].to_vec());
            assert!(!matches!(caught(|| DataFrame::read(options.format, cut, LIMIT)), Ok(Ok(_))), "{length}");
        }
        for bit in (0..bytes.len() * 8).step_by(7) {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ =
                caught(|| DataFrame::read(options.format, Source::of_bytes(bytes), LIMIT).map(|frame| frame.height()));
        }
    }
}

#[test]
fn a_frame_that_holds_more_than_is_allowed_is_refused() {
    let frame = series(&DataType::Int64, 3_000_000, false).into_frame();
    for options in [ARROW, PARQUET] {
        let bytes = written(&frame, options).unwrap();
        assert!(DataFrame::read(options.format, Source::of_bytes(bytes), 1000).is_err());
    }
}
