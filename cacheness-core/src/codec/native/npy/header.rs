//! The line of text before the memory of an array.
//!
//! It looks like Python, and NumPy reads it as such. What it writes for plain arrays has one form, a dictionary of three names,
//! so no more is read: nothing nests, and nothing is kept that is longer than the line.

use std::io::Read;

use super::super::Source;
use crate::codec::handler::HandlerError;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Magic and version, before the length of the line.
const START: u64 = 8;

/// The data begins at a multiple of this.
const ALIGNMENT: usize = 64;

/// NumPy leaves room for the first axis to grow to so many digits.
const MAX_DIGITS: usize = 21;

/// The longest line of version 1. The others have longer lines for records of many fields, which no array here has.
const MAX_LINE: u32 = u16::MAX as u32;

/// As many dimensions as NumPy has.
const MAX_DIMENSIONS: usize = 64;

/// What is said of an array before its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The type of the elements, such as `<f8`.
    pub(super) descr: String,
    /// Whether the first axis lies close, and not the last one.
    pub(super) fortran: bool,
    pub(super) shape: Vec<usize>,
}

impl Header {
    /// As version 1.0, in the very bytes that NumPy writes.
    ///
    /// # Errors
    /// If there are more dimensions than NumPy has.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, HandlerError> {
        let line = self.line();
        let unpadded = MAGIC.len() + 4 + line.len() + 1;
        let padding = ALIGNMENT - unpadded % ALIGNMENT;
        let length = u16::try_from(line.len() + padding + 1)?;
        if self.shape.len() > MAX_DIMENSIONS {
            return Err(too_many_dimensions(self.shape.len()));
        }
        let mut bytes = Vec::with_capacity(unpadded + padding);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[1, 0]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(line.as_bytes());
        bytes.resize(unpadded + padding - 1, b' ');
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn line(&self) -> String {
        let fortran = if self.fortran { "True" } else { "False" };
        let axes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let shape = match axes.as_slice() {
            [only] => format!("({only},)"),
            axes => format!("({})", axes.join(", ")),
        };
        let growing = if self.fortran { axes.last() } else { axes.first() };
        let room = growing.map_or(0, |axis| MAX_DIGITS.saturating_sub(axis.len()));
        format!("{{'descr': '{}', 'fortran_order': {fortran}, 'shape': {shape}, }}{:room$}", self.descr, "")
    }

    /// Reads one, and how many bytes it takes.
    ///
    /// # Errors
    /// If it is something else, or the file ends before it does.
    pub(super) fn read(from: &mut Source) -> Result<(Self, u64), HandlerError> {
        let mut start = [0; START as usize];
        from.read_exact(&mut start)?;
        let (length, width) = match start.strip_prefix(MAGIC) {
            Some([1, 0]) => (u32::from(u16::from_le_bytes(read_array(from)?)), 2),
            Some([2 | 3, 0]) => (u32::from_le_bytes(read_array(from)?), 4),
            Some([major, minor]) => return Err(format!("version {major}.{minor} of the format is not known").into()),
            _ => return Err("this is no file of NumPy's".into()),
        };
        let end = START + width + u64::from(length);
        if length > MAX_LINE || end > from.len() {
            return Err(format!("a line of {length} bytes before the data").into());
        }
        let mut line = vec![0; usize::try_from(length)?];
        from.read_exact(&mut line)?;
        Ok((Self::parse(std::str::from_utf8(&line)?)?, end))
    }

    /// How many bytes there are before the data, by the first sixteen; `None` if they begin no header, or none that is read.
    pub(super) fn len_by(start: &[u8]) -> Option<u64> {
        let (length, width) = match start.strip_prefix(MAGIC)? {
            [1, 0, rest @ ..] => (u32::from(u16::from_le_bytes(*rest.first_chunk()?)), 2),
            [2 | 3, 0, rest @ ..] => (u32::from_le_bytes(*rest.first_chunk()?), 4),
            _ => return None,
        };
        (length <= MAX_LINE).then_some(START + width + u64::from(length))
    }

    fn parse(line: &str) -> Result<Self, HandlerError> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = Rest(line);
        rest.take("{")?;
        while !rest.takes("}") {
            let name = rest.quoted()?;
            rest.take(":")?;
            let known = match name {
                "descr" => descr.replace(rest.quoted()?).is_some(),
                "fortran_order" => fortran.replace(rest.truth()?).is_some(),
                "shape" => shape.replace(rest.numbers()?).is_some(),
                _ => return Err(format!("`{}` is no part of an array", name.escape_debug()).into()),
            };
            if known {
                return Err(format!("`{name}` is said twice").into());
            }
            if !rest.takes(",") {
                rest.take("}")?;
                break;
            }
        }
        rest.end()?;
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok(Self { descr: descr.to_owned(), fortran, shape }),
            _ => Err("one of `descr`, `fortran_order` and `shape` is missing".into()),
        }
    }
}

fn read_array<const N: usize>(from: &mut Source) -> Result<[u8; N], HandlerError> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn too_many_dimensions(number: usize) -> HandlerError {
    format!("an array of {number} dimensions: NumPy has at most {MAX_DIMENSIONS}").into()
}

/// What is still to be read of the line.
struct Rest<'l>(&'l str);

impl<'l> Rest<'l> {
    /// Whether this comes next, behind spaces; then it is taken.
    fn takes(&mut self, what: &str) -> bool {
        let rest = self.0.trim_ascii_start().strip_prefix(what);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn take(&mut self, what: &str) -> Result<(), HandlerError> {
        if self.takes(what) { Ok(()) } else { Err(self.other(&format!("`{what}`"))) }
    }

    /// A text without escapes: those of NumPy have none.
    fn quoted(&mut self) -> Result<&'l str, HandlerError> {
        let quote = if self.takes("'") { '\'' } else { '"' };
        if quote == '"' && !self.takes("\"") {
            return Err(self.other("a text: the elements are to be plain numbers"));
        }
        let (text, rest) = self.0.split_once(quote).ok_or_else(|| self.other("a text that ends"))?;
        self.0 = rest;
        Ok(text)
    }

    fn truth(&mut self) -> Result<bool, HandlerError> {
        match (self.takes("True"), self.takes("False")) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            _ => Err(self.other("`True` or `False`")),
        }
    }

    fn numbers(&mut self) -> Result<Vec<usize>, HandlerError> {
        let mut numbers = Vec::new();
        self.take("(")?;
        while !self.takes(")") {
            if numbers.len() == MAX_DIMENSIONS {
                return Err(too_many_dimensions(numbers.len() + 1));
            }
            numbers.push(self.number()?);
            if !self.takes(",") {
                // One number in parentheses is a number in Python.
                if numbers.len() < 2 {
                    return Err(self.other("`,`"));
                }
                self.take(")")?;
                break;
            }
        }
        Ok(numbers)
    }

    fn number(&mut self) -> Result<usize, HandlerError> {
        let text = self.0.trim_ascii_start();
        let digits = text.find(|other: char| !other.is_ascii_digit()).unwrap_or(text.len());
        let (number, rest) = text.split_at(digits);
        let number = number.parse().map_err(|_| self.other("a length that fits into memory"))?;
        // Python 2 wrote an `L` behind long numbers.
        self.0 = rest.strip_prefix('L').unwrap_or(rest);
        Ok(number)
    }

    fn end(&self) -> Result<(), HandlerError> {
        if self.0.trim_ascii().is_empty() { Ok(()) } else { Err(self.other("the end of the line")) }
    }

    fn other(&self, expected: &str) -> HandlerError {
        let found: String = self.0.trim_ascii_start().chars().take(20).collect();
        format!("expected {expected}, found `{}`", found.escape_debug()).into()
    }
}
