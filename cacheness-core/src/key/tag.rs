//! The first byte of everything in a canonical encoding.
//!
//! A tag is never given a second meaning and never renumbered: stored entries are found by the bytes that it starts.

macro_rules! tags {
    ($($name:ident = $value:literal,)+) => {
        $(pub(super) const $name: u8 = $value;)+

        #[cfg(test)]
        const ALL: &[u8] = &[$($value),+];
    };
}

tags! {
    UNIT = 0x01,
    BOOL = 0x02,
    CHAR = 0x03,
    PHANTOM = 0x04,

    U8 = 0x10,
    U16 = 0x11,
    U32 = 0x12,
    U64 = 0x13,
    U128 = 0x14,
    USIZE = 0x15,
    I8 = 0x18,
    I16 = 0x19,
    I32 = 0x1a,
    I64 = 0x1b,
    I128 = 0x1c,
    ISIZE = 0x1d,
    F32 = 0x20,
    F64 = 0x21,
    NON_ZERO = 0x28,
    WRAPPING = 0x29,
    SATURATING = 0x2a,
    REVERSE = 0x2b,
    ORDERING = 0x2c,

    STR = 0x30,
    C_STR = 0x31,
    OS_STR = 0x32,
    // A path whose content is appended at the end of the key.
    PATH = 0x33,
    // A path whose content follows at once.
    PATH_HERE = 0x34,

    NONE = 0x40,
    SOME = 0x41,
    OK = 0x42,
    ERR = 0x43,

    SEQUENCE = 0x50,
    PACKED_SEQUENCE = 0x51,
    ARRAY = 0x52,
    PACKED_ARRAY = 0x53,
    TUPLE = 0x54,
    SET = 0x55,
    MAP = 0x56,
    // A map whose order counts: each entry behind a one, and a zero at the end.
    ORDERED_MAP = 0x57,

    UNIT_STRUCT = 0x60,
    TUPLE_STRUCT = 0x61,
    STRUCT = 0x62,
    UNIT_VARIANT = 0x63,
    TUPLE_VARIANT = 0x64,
    STRUCT_VARIANT = 0x65,

    DURATION = 0x70,
    SYSTEM_TIME = 0x71,
    IPV4 = 0x72,
    IPV6 = 0x73,
    IP = 0x74,
    SOCKET_V4 = 0x75,
    SOCKET_V6 = 0x76,
    SOCKET = 0x77,
    RANGE = 0x78,
    RANGE_INCLUSIVE = 0x79,
    RANGE_FROM = 0x7a,
    RANGE_TO = 0x7b,
    RANGE_TO_INCLUSIVE = 0x7c,
    RANGE_FULL = 0x7d,
    BOUND_INCLUDED = 0x7e,
    BOUND_EXCLUDED = 0x7f,
    BOUND_UNBOUNDED = 0x80,

    // Not values, so that no value can be taken for one of these.
    FUNCTION = 0xf0,
    ARGUMENT = 0xf1,
    NAMED_ARGUMENT = 0xf2,
    PARAMS = 0xf3,
    CONTENTS = 0xf4,
    // Behind a value: what it told a hasher.
    HASHED = 0xf5,
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn no_two_tags_share_a_number() {
        let distinct: std::collections::BTreeSet<_> = ALL.iter().collect();
        assert_eq!(distinct.len(), ALL.len());
    }
}
