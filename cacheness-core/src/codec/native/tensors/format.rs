//! Tensors to a file of safetensors and back: a number, so many bytes of JSON, and the bytes of all tensors.
//!
//! What the JSON says of a tensor, and whether all of it fits together, is the matter of the crate safetensors. It reads no more than
//! whole files that lie in memory, though, and a JSON of which it keeps up to sixteen times its length, so the walk over the
//! names is ours.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::tensor::Aligned;
use super::{Tensor, Tensors};
use crate::codec::handler::HandlerError;
use crate::codec::native::sealed::Sealed;
use crate::codec::native::{Native, NativeFormat, NativeOptions, Source};

/// Bytes of the number before the JSON, which has a multiple of it.
const LENGTH: usize = size_of::<u64>();

/// Where the texts are.
const METADATA: &str = "__metadata__";

/// JSON of this length is read whatever the limit is.
const SMALL_HEADER: u64 = 1 << 20;

/// JSON takes up to so many times its length while it is read.
const HEADER_MEMORY: u64 = 16;

/// The crate takes no longer JSON.
const MAX_HEADER: u64 = 100_000_000;

impl Sealed for Tensors {}

impl Native for Tensors {
    const FORMATS: &'static [NativeFormat] = &[NativeFormat::SafeTensors];

    /// With the memory for reading the JSON, where it is long: what may be written can be read.
    fn size(&self) -> u64 {
        let header = header(self).map_or(0, |header| header.len() as u64);
        let data = self.iter().map(|(_, tensor)| tensor.bytes().len() as u64).sum::<u64>();
        data + header.max(header.saturating_sub(SMALL_HEADER).saturating_mul(HEADER_MEMORY))
    }

    fn write(&self, options: NativeOptions, to: &mut (dyn io::Write + Send)) -> Result<(), HandlerError> {
        check_format(options.format)?;
        let header = header(self)?;
        to.write_all(&(header.len() as u64).to_le_bytes())?;
        to.write_all(&header)?;
        for (_, tensor) in in_file_order(self) {
            to.write_all(tensor.bytes())?;
        }
        Ok(())
    }

    fn read(format: NativeFormat, mut from: Source, limit: u64) -> Result<Self, HandlerError> {
        check_format(format)?;
        let (header, left) = read_header(&mut from, limit)?;
        let Header { metadata, tensors } = serde_json::from_slice(&header)?;
        let mut infos: Vec<_> = tensors.into_iter().collect();
        infos.sort_by_key(|(_, info)| info.data_offsets);
        // The crate looks whether they lie side by side, each as long as its type and shape make it.
        let checked = Metadata::new(None, infos.clone())?;
        if checked.data_len() as u64 != left {
            return Err(format!("the tensors have {} bytes, the file has {left}", checked.data_len()).into());
        }
        if left > limit {
            return Err(format!("tensors of {left} bytes, the limit is {limit}").into());
        }
        let tensors = infos.into_iter().map(|(name, info)| Ok((name, read_tensor(info, &mut from)?)));
        Ok(Self { tensors: tensors.collect::<Result<_, HandlerError>>()?, metadata })
    }
}

fn check_format(format: NativeFormat) -> Result<(), HandlerError> {
    if format == NativeFormat::SafeTensors {
        Ok(())
    } else {
        Err(format!("tensors are not written as {format}").into())
    }
}

/// As the crate orders them, so that each lies where its numbers may lie.
fn in_file_order(tensors: &Tensors) -> Vec<(&str, &Tensor)> {
    let mut order: Vec<_> = tensors.iter().collect();
    // They are in the order of their names, and stay so where the type is one.
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype()));
    order
}

fn header(tensors: &Tensors) -> Result<Vec<u8>, HandlerError> {
    let mut header = serde_json::to_vec(&Written(tensors))?;
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    if header.len() as u64 > MAX_HEADER {
        return Err(
            format!("names and shapes of tensors take {} bytes, the limit is {MAX_HEADER}", header.len()).into()
        );
    }
    Ok(header)
}

/// Reads the JSON, and how many bytes follow.
fn read_header(from: &mut Source, limit: u64) -> Result<(Vec<u8>, u64), HandlerError> {
    let mut length = [0; LENGTH];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let left = from.len().saturating_sub(LENGTH as u64).checked_sub(length);
    let longest = (SMALL_HEADER + limit / HEADER_MEMORY).min(MAX_HEADER);
    let Some(left) = left.filter(|_| length <= longest) else {
        return Err(format!("a header of {length} bytes in a file of {}", from.len()).into());
    };
    let mut header = vec![0; usize::try_from(length)?];
    from.read_exact(&mut header)?;
    Ok((header, left))
}

fn read_tensor(info: TensorInfo, from: &mut Source) -> Result<Tensor, HandlerError> {
    let (start, end) = info.data_offsets;
    let mut bytes = Aligned::zeroed(end.saturating_sub(start))?;
    from.read_exact(bytes.as_mut_bytes())?;
    Ok(Tensor::of_parts(info.dtype, info.shape, bytes))
}

/// The JSON of tensors. The crate has the texts in a map without an order, so that one value would have several files.
struct Written<'t>(&'t Tensors);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if !self.0.metadata.is_empty() {
            map.serialize_entry(METADATA, &self.0.metadata)?;
        }
        let mut start = 0;
        for (name, tensor) in in_file_order(self.0) {
            if name == METADATA {
                return Err(serde::ser::Error::custom("a tensor cannot have the name `__metadata__`"));
            }
            let end = start + tensor.bytes().len();
            let info = TensorInfo { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), data_offsets: (start, end) };
            map.serialize_entry(name, &info)?;
            start = end;
        }
        map.end()
    }
}

/// What the JSON says.
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let (mut metadata, mut tensors) = (None, BTreeMap::new());
        while let Some(name) = map.next_key::<String>()? {
            let known = if name == METADATA {
                // The crate allows a `null` here.
                metadata.replace(map.next_value::<Option<BTreeMap<_, _>>>()?).is_some()
            } else {
                tensors.insert(name, map.next_value()?).is_some()
            };
            if known {
                return Err(de::Error::custom("a name is there twice"));
            }
        }
        Ok(Header { metadata: metadata.flatten().unwrap_or_default(), tensors })
    }
}
