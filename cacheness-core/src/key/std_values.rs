//! Texts, paths, times and addresses.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{CacheKey, KeyWriter, tag};

macro_rules! owned {
    ($($owned:ty => $borrowed:ty),+ $(,)?) => {
        $(impl CacheKey for $owned {
            #[inline]
            fn may_panic(&self) -> bool {
                <$borrowed>::may_panic(self)
            }

            #[inline]
            fn encode(&self, writer: &mut KeyWriter) {
                <$borrowed>::encode(self, writer);
            }
        })+
    };
}

owned!(String => str, CString => CStr, OsString => OsStr, PathBuf => Path);

impl CacheKey for str {
    #[inline]
    fn may_panic(&self) -> bool {
        false
    }

    #[inline]
    fn encode(&self, writer: &mut KeyWriter) {
        writer.write_str(self);
    }
}

impl CacheKey for CStr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::C_STR]);
        writer.blob(self.to_bytes());
    }
}

impl CacheKey for OsStr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::OS_STR]);
        writer.blob(self.as_encoded_bytes());
    }
}

impl CacheKey for Path {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.write_path(self);
    }
}

impl CacheKey for Duration {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::DURATION]);
        append_duration(writer, *self);
    }
}

impl CacheKey for SystemTime {
    fn encode(&self, writer: &mut KeyWriter) {
        let (before, distance) = match self.duration_since(UNIX_EPOCH) {
            Ok(after) => (0, after),
            Err(error) => (1, error.duration()),
        };
        writer.value(&[tag::SYSTEM_TIME, before]);
        append_duration(writer, distance);
    }
}

fn append_duration(writer: &mut KeyWriter, duration: Duration) {
    writer.append(&duration.as_secs().to_le_bytes());
    writer.append(&duration.subsec_nanos().to_le_bytes());
}

impl CacheKey for Ipv4Addr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::IPV4]);
        writer.append(&self.octets());
    }
}

impl CacheKey for Ipv6Addr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::IPV6]);
        writer.append(&self.octets());
    }
}

impl CacheKey for IpAddr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::IP, 1, |writer| match self {
            Self::V4(address) => address.encode(writer),
            Self::V6(address) => address.encode(writer),
        });
    }
}

impl CacheKey for SocketAddrV4 {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::SOCKET_V4]);
        writer.append(&self.ip().octets());
        writer.append(&self.port().to_le_bytes());
    }
}

impl CacheKey for SocketAddrV6 {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.value(&[tag::SOCKET_V6]);
        writer.append(&self.ip().octets());
        writer.append(&self.port().to_le_bytes());
        writer.append(&self.flowinfo().to_le_bytes());
        writer.append(&self.scope_id().to_le_bytes());
    }
}

impl CacheKey for SocketAddr {
    fn encode(&self, writer: &mut KeyWriter) {
        writer.tagged(tag::SOCKET, 1, |writer| match self {
            Self::V4(address) => address.encode(writer),
            Self::V6(address) => address.encode(writer),
        });
    }
}
