//! The canonical encoding, byte by byte.
//!
//! These bytes are in the index of every cache that was ever written. Changing one of them makes every stored entry
//! that contains such a value unfindable: no wrong result, but all the work of earlier runs is lost without a word.
//! New types get new tags and new rows; a row is never edited.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::{NonZero, Saturating, Wrapping};
use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::super::{CacheKey, Key, KeyFields, KeyWriter, SerdeKey};
use super::key;
use crate::params;

/// A struct or variant with one field, if its kind has fields.
struct Record(KeyFields, Option<&'static str>);

impl CacheKey for Record {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.record("m::Type", self.1, self.0, |writer| match self.0 {
            KeyFields::Unit => {}
            KeyFields::Positional(_) => 1_u8.encode(writer),
            KeyFields::Named(_) => writer.field("x", &1_u8),
        });
    }
}

/// A key as it prints, and its identity: `00` and the canonical bytes, or `01` and their BLAKE3 digest.
fn written(key: &Key) -> String {
    let identity: String = key.identity().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{key} {identity}")
}

macro_rules! assert_golden {
    ($($value:expr => $written:literal,)+) => {
        let rows = [$((stringify!($value), written(&key(&$value)), $written)),+];
        let wrong: Vec<_> = rows.iter().filter(|(_, written, golden)| written != golden).collect();
        assert!(wrong.is_empty(), "not as ever: {wrong:#?}");
    };
}

fn function_key(encode: impl FnOnce(&mut KeyWriter)) -> Key {
    let mut writer = KeyWriter::new();
    encode(&mut writer);
    writer.finish().resolve().unwrap()
}

#[test]
fn values_are_encoded_as_ever() {
    assert_golden! {
        () => "e12ef9d2eb86ceeb 0001",
        true => "66e9c4aa7c53ef78 000201",
        'é' => "684ae25bc4b7957f 0003e9000000",
        7_u8 => "48704f2d5e6ae015 001007",
        7_u16 => "0170119b678b6efc 00110700",
        7_u32 => "47168d4fca895be3 001207000000",
        7_u64 => "6acda88d0e3d98fe 00130700000000000000",
        7_u128 => "87717414b72a1697 001407000000000000000000000000000000",
        7_usize => "086dc072717bac35 00150700000000000000",
        -7_i8 => "18a03d4ff1db53b0 0018f9",
        -7_i16 => "a344d891f6ad4526 0019f9ff",
        -7_i32 => "ff5695186ce7256a 001af9ffffff",
        -7_i64 => "4de967b758fca7e1 001bf9ffffffffffffff",
        -7_i128 => "9d87d70946777e8f 001cf9ffffffffffffffffffffffffffffff",
        -7_isize => "983f82b3a72da8fa 001df9ffffffffffffff",
        1.5_f32 => "89552ce366f4a40f 00200000c03f",
        -0.0_f32 => "df16ea69ba47c51c 002000000080",
        f32::NAN => "7017b5ffaf668524 00200000c07f",
        1.5_f64 => "30bcd378ca61ed44 0021000000000000f83f",
        -0.0_f64 => "5ec7235af1a5707f 00210000000000000080",
        f64::NAN => "6d22a0878a48863f 0021000000000000f87f",
        "" => "8439ccbd1c202210 003000",
        "text" => "378761946fc51988 00300474657874",
        String::from("été") => "54e4185ee3a95cf2 003005c3a974c3a9",
        c"text" => "0198d708f87588b5 00310474657874",
        OsStr::new("text") => "81c4c7e0979cb716 00320474657874",
        PhantomData::<u8> => "b28a01c22d9ed7e9 0004027538",
        None::<u8> => "765e659a7480cd51 0040",
        Some(1_u8) => "197cf91e1762f89a 00411001",
        Some(None::<u8>) => "43766e0d3d768c5b 004140",
        Ok::<u8, u8>(1) => "8efa503481377221 00421001",
        Err::<u8, u8>(1) => "5dbb77084ec470a5 00431001",
        NonZero::<u8>::MIN => "56f43deb8b2eb84f 00281001",
        Wrapping(1_u8) => "b76f0ae066c47fd5 00291001",
        Saturating(1_u8) => "53077fa7936bd245 002a1001",
        Reverse(1_u8) => "0079ff925acfb2e8 002b1001",
        Ordering::Less => "20d76c6faca0b5a4 002cff",
        (1_u8,) => "a84027934fdad128 0054011001",
        (1_u8, "a", true) => "d0fb7afeb09511fc 00540310013001610201",
        (0_u8, 1_u8, 2_u8, 3_u8, 4_u8, 5_u8, 6_u8, 7_u8, 8_u8, 9_u8, 10_u8, 11_u8) => "d712d3e19ac3b31e 00540c1000100110021003100410051006100710081009100a100b",
        [1_u16, 2] => "27f856451c7b4799 0053110201000200",
        ["a", "b"] => "aa513a2c101d0248 005202300161300162",
        vec![1_u8, 2, 3] => "82a9e2d8678fb67e 00511003010203",
        vec![true, false] => "013995a7c535074e 005102020100",
        vec!['a'] => "0eb07dca1cedab4e 0051030161000000",
        vec![1.5_f32, -0.0] => "42ef651cef504765 005120020000c03f00000080",
        vec![1_i64, -1] => "0dbdd727443d853a 00511b020100000000000000ffffffffffffffff",
        vec![1_usize] => "99fb2a36889172c3 005115010100000000000000",
        vec!["a", ""] => "1ce00293cbdee9a6 0050023001613000",
        vec![vec![1_u8], vec![]] => "b186ae236ae6966f 00500251100101511000",
        Vec::<u8>::new() => "26751b9c23461d28 00511000",
        Vec::<String>::new() => "84092b8bb386cc54 005000",
        vec![0_u8; 100] => "75195d051f460475 0051106400000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        HashSet::from(["bb", "a"]) => "13c1743c2f4ba446 00550230016130026262",
        HashMap::from([("b", 1_u8), ("a", 2)]) => "d884c7da72af0d74 00560230016110023001621001",
        BTreeMap::from([(-1_i8, ()), (1, ())]) => "9e516c8268f0ad61 00560218010118ff01",
        Duration::new(1, 2) => "2c8d169be48e75c5 0070010000000000000002000000",
        UNIX_EPOCH + Duration::new(1, 2) => "340be49d38af5718 007100010000000000000002000000",
        UNIX_EPOCH - Duration::new(1, 2) => "16571925763b4131 007101010000000000000002000000",
        Ipv4Addr::new(127, 0, 0, 1) => "930a1f7078025d46 00727f000001",
        Ipv6Addr::LOCALHOST => "14aaf56e2a79bdeb 007300000000000000000000000000000001",
        IpAddr::from([127, 0, 0, 1]) => "1a3f7a123cc336d3 0074727f000001",
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80) => "aae19a484aeaf26f 00757f0000015000",
        SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 1, 2) => "723465497bae48ef 00760000000000000000000000000000000150000100000002000000",
        SocketAddr::from(([127, 0, 0, 1], 80)) => "58867ac538ecd634 0077757f0000015000",
        1_u8..2 => "2e1b9e5544c11534 007810011002",
        1_u8..=2 => "54d92b72be31444d 0079100110020200",
        1_u8.. => "ca52dc1a68a3048c 007a1001",
        ..1_u8 => "76ab3215a67c3232 007b1001",
        ..=1_u8 => "a13c0183efb06f3c 007c1001",
        .. => "b8c2a5400d473978 007d",
        Bound::Included(1_u8) => "5717abd5cdff6c28 007e1001",
        Bound::Excluded(1_u8) => "d0fac49efbc4620b 007f1001",
        Bound::<u8>::Unbounded => "6b148c0872500941 0080",
        Record(KeyFields::Unit, None) => "38e718187742d92f 0060076d3a3a5479706500",
        Record(KeyFields::Positional(1), None) => "8acfa59335fb2338 0061076d3a3a54797065011001",
        Record(KeyFields::Named(1), None) => "ea8bf66a20997523 0062076d3a3a547970650101781001",
        Record(KeyFields::Unit, Some("V")) => "6d126568204fccac 0063076d3a3a54797065015600",
        Record(KeyFields::Positional(1), Some("V")) => "242b7ef778b4791b 0064076d3a3a547970650156011001",
        Record(KeyFields::Named(1), Some("V")) => "934c4d5221e16bf4 0065076d3a3a5479706501560101781001",
        SerdeKey(vec![1_u8, 2]) => "6af025482a85f0e3 00500210011002",
        SerdeKey((1_u8, 'a', [1_u8])) => "20451b502d4ed8f8 0054031001036100000054011001",
        SerdeKey(HashMap::from([("b", 1_u8), ("a", 2)])) => "d884c7da72af0d74 00560230016110023001621001",
        params! {} => "0923a14c4fcc584f 00f300",
        params! { run: 42, experiment: "exp_001" } => "e954469e0a16b30a 00f3020a6578706572696d656e740a0030076578705f3030310372756e06001a2a000000",
        vec!["long"; 50] => "6c861824fc9aaf73 01ea35d446eaaccf1e68b66b44cee4551a36055e71c77b6699e7f6942dffba5305",
        vec![1_u32; 40_000] => "2a00b435f52acdfc 017f677bae35f85a23dbd9f108da2f926034ebc99f4c1b94d75a2066b648b445f9",
    }
}

#[test]
fn lengths_are_written_in_groups_of_seven_bits() {
    for (length, number) in
        [(127, &[0x7f][..]), (128, &[0x80, 0x01]), (300, &[0xac, 0x02]), (20_000, &[0xa0, 0x9c, 0x01])]
    {
        let text = "x".repeat(length);
        let encoding = [&[0x30][..], number, text.as_bytes()].concat();
        assert_eq!(key(&text).identity()[1..], crate::util::digest::identity(&encoding), "{length}");
        assert_eq!(key(&text).hash(), crate::util::digest::checksum(&encoding), "{length}");
    }
}

#[test]
fn functions_are_encoded_as_ever() {
    let key = function_key(|writer| {
        writer.scope("m::f", Some("p"), None);
        writer.argument();
        "x".encode(writer);
        writer.named_argument("n");
        1_u8.encode(writer);
    });
    assert_eq!(written(&key), "a8fd59e1b607d4b1 00f0046d3a3a6601017000f1300178f2016e1001");
    assert_eq!(
        written(&function_key(|writer| writer.scope("m::f", None, Some("2")))),
        "1cd0a72bb2e2ec22 00f0046d3a3a6600010132"
    );
}

#[test]
fn paths_are_encoded_as_ever() {
    let root = tempfile::tempdir().unwrap();
    let (file, directory) = (root.path().join("file"), root.path().join("directory"));
    std::fs::write(&file, "content").unwrap();
    std::fs::create_dir_all(directory.join("b")).unwrap();
    std::fs::write(directory.join("a"), "content").unwrap();
    let missing = Path::new("no such file");
    assert_golden! {
        missing => "36b2187c30c8a965 003300f400",
        &file => "1e90bdc6ebd536f4 003300f4013fba5250be9ac259c56e7250c526bc83bacb4be825f2799d3d59e5b4878dd74e",
        &directory => "dd32cdaa03b4819c 003300f4021c2161003df85272c06c77310e1b1aefd905f5127c57fd8c9e6304bad964e16e",
        (missing, Cow::Borrowed(missing)) => "d599cfd6b5a87c2f 00540233003301f40000",
        HashSet::from([&file]) => "f6f1444729ef9c2a 00550134013fba5250be9ac259c56e7250c526bc83bacb4be825f2799d3d59e5b4878dd74e",
    }
    let by_text = function_key(|writer| {
        *writer = KeyWriter::new().with_path_content(false);
        Path::new("a/b").encode(writer);
    });
    assert_eq!(written(&by_text), "be7b3f5b59e65f24 003300f40303612f62");
}

#[cfg(unix)]
#[test]
fn links_in_directories_are_encoded_as_ever() {
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("target", root.path().join("link")).unwrap();
    assert_eq!(
        written(&key(root.path())),
        "9ded4719f46f4eed 003300f402dbee7f4d101a8b65459ef912405474d8800571c3d203480b4dd54036956aed29"
    );
}
