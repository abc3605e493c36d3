//! What the head of a Parquet file and the heads of its pages say of themselves, looked at before a library reads them.
//!
//! The libraries reserve memory for what is announced there, and memory that cannot be had ends the process. So the
//! [compact protocol](https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md) is walked first, which
//! reserves nothing.

use std::error::Error;
use std::fmt;

/// Structures of Parquet are nested less deeply.
const MAX_DEPTH: usize = 12;

/// What comes by on a walk. The path is the numbers of the fields that lead there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// A number.
    Number(i64),
    /// A list of so many elements begins.
    List(u64),
    /// A structure in a list begins.
    Element,
}

/// Why a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More bytes would have to follow.
    Short,
    /// No structure of Parquet.
    Malformed,
    /// More than is allowed.
    TooLarge,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the Parquet file ends in the middle of a structure",
            Self::Malformed => "a structure of the Parquet file is malformed",
            Self::TooLarge => "the Parquet file holds more than a value may have",
        })
    }
}

impl Error for Stop {}

/// Walks the structure that `bytes` begin with, and says how many bytes it has.
///
/// # Errors
/// [`Stop`], by the bytes or by `seen`.
pub(super) fn walk(bytes: &[u8], seen: impl FnMut(&[i16], Seen) -> Result<(), Stop>) -> Result<usize, Stop> {
    let mut walk = Walk { rest: bytes, path: Vec::with_capacity(MAX_DEPTH), seen };
    walk.structure()?;
    Ok(bytes.len() - walk.rest.len())
}

struct Walk<'b, F> {
    rest: &'b [u8],
    path: Vec<i16>,
    seen: F,
}

impl<F: FnMut(&[i16], Seen) -> Result<(), Stop>> Walk<'_, F> {
    fn skip(&mut self, count: u64) -> Result<(), Stop> {
        let rest = usize::try_from(count).ok().and_then(|count| self.rest.get(count..));
        self.rest = rest.ok_or(Stop::Short)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (&byte, rest) = self.rest.split_first().ok_or(Stop::Short)?;
        self.rest = rest;
        Ok(byte)
    }

    fn unsigned(&mut self) -> Result<u64, Stop> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Stop::Malformed)
    }

    fn signed(&mut self) -> Result<i64, Stop> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Fields come in order and once: what was seen of one holds.
    fn structure(&mut self) -> Result<(), Stop> {
        if self.path.len() >= MAX_DEPTH {
            return Err(Stop::Malformed);
        }
        let mut last = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            let id = match head >> 4 {
                0 => self.signed()?,
                step => last + i64::from(step),
            };
            if id <= last {
                return Err(Stop::Malformed);
            }
            last = id;
            self.path.push(i16::try_from(id).map_err(|_| Stop::Malformed)?);
            self.value(head & 0x0f)?;
            self.path.pop();
        }
    }

    fn value(&mut self, kind: u8) -> Result<(), Stop> {
        match kind {
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => {
                let number = self.signed()?;
                (self.seen)(&self.path, Seen::Number(number))
            }
            7 => self.skip(8),
            8 => {
                let length = self.unsigned()?;
                self.skip(length)
            }
            9 | 10 => self.list(),
            12 => self.structure(),
            _ => Err(Stop::Malformed),
        }
    }

    fn list(&mut self) -> Result<(), Stop> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.unsigned()?,
            few => u64::from(few),
        };
        if count > self.rest.len() as u64 {
            return Err(Stop::Short);
        }
        (self.seen)(&self.path, Seen::List(count))?;
        for _ in 0..count {
            match head & 0x0f {
                1 | 2 => self.skip(1)?,
                kind => {
                    if kind == 12 {
                        (self.seen)(&self.path, Seen::Element)?;
                    }
                    self.value(kind)?;
                }
            }
        }
        Ok(())
    }
}

/// A column of a row group: where it lies and what it is said to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) kind: i64,
    pub(super) values: u64,
    /// Bytes of its pages, heads and all, when they are not compressed any more.
    pub(super) plain: u64,
    pub(super) stored: u64,
    first_data: u64,
    first_dictionary: Option<u64>,
}

impl Chunk {
    /// Where its first page is.
    pub(super) fn start(&self) -> u64 {
        self.first_dictionary.map_or(self.first_data, |dictionary| dictionary.min(self.first_data))
    }
}

/// What the end of a Parquet file says of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) rows: u64,
    pub(super) groups: u64,
    pub(super) chunks: Vec<Chunk>,
}

/// Deeper than [`super::nesting::DEEPEST`] by what lists and maps take in Parquet.
const DEEPEST_SCHEMA: usize = 80;

/// The end of a file, if a library can be trusted with it.
///
/// # Errors
/// [`Stop`].
pub(super) fn summary(bytes: &[u8]) -> Result<Summary, Stop> {
    let mut summary = Summary::default();
    let mut children: Vec<u64> = Vec::new();
    walk(bytes, |path, seen| {
        let count = |number: i64| u64::try_from(number).map_err(|_| Stop::Malformed);
        match (path, seen) {
            ([2], Seen::Element) => children.push(0),
            ([2, 5], Seen::Number(number)) => *children.last_mut().ok_or(Stop::Malformed)? = count(number)?,
            ([3], Seen::Number(rows)) => summary.rows = count(rows)?,
            ([4], Seen::Element) => summary.groups += 1,
            ([4, 1], Seen::Element) => summary.chunks.push(Chunk::default()),
            ([4, 1, 3, field], Seen::Number(number)) => {
                summary.chunks.last_mut().ok_or(Stop::Malformed)?.note(*field, number)?;
            }
            _ => {}
        }
        Ok(())
    })?;
    check_schema(&children)?;
    Ok(summary)
}

impl Chunk {
    fn note(&mut self, field: i16, number: i64) -> Result<(), Stop> {
        let count = u64::try_from(number).map_err(|_| Stop::Malformed);
        match field {
            1 => self.kind = number,
            5 => self.values = count?,
            6 => self.plain = count?,
            7 => self.stored = count?,
            9 => self.first_data = count?,
            11 => self.first_dictionary = Some(count?),
            _ => {}
        }
        Ok(())
    }
}

/// The elements of a schema, each before its children, of which it tells the number.
fn check_schema(children: &[u64]) -> Result<(), Stop> {
    let mut open: Vec<u64> = Vec::new();
    for &count in children {
        if count > children.len() as u64 || open.len() > DEEPEST_SCHEMA {
            return Err(Stop::Malformed);
        }
        if let Some(left) = open.last_mut() {
            *left = left.checked_sub(1).ok_or(Stop::Malformed)?;
        }
        open.push(count);
        while open.len() > 1 && open.last() == Some(&0) {
            open.pop();
        }
    }
    Ok(())
}

/// What the head of a page announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) plain: u64,
    pub(super) values: u64,
    pub(super) is_dictionary: bool,
    /// Lengths of byte arrays are in the page, where they may say anything: DELTA_LENGTH_BYTE_ARRAY and DELTA_BYTE_ARRAY.
    pub(super) has_lengths: bool,
    pub(super) stored: u64,
    /// How many bytes the head has.
    pub(super) head: usize,
}

/// The head of the page that `bytes` begin with.
///
/// # Errors
/// [`Stop`]; [`Stop::Short`] if `bytes` do not have all of it.
pub(super) fn page(bytes: &[u8]) -> Result<Page, Stop> {
    let mut page = Page::default();
    let head = walk(bytes, |path, seen| {
        let Seen::Number(number) = seen else { return Ok(()) };
        let count = u64::try_from(number).map_err(|_| Stop::Malformed);
        match path {
            [2] => page.plain = count?,
            [3] => page.stored = count?,
            [5 | 8, 1] => page.values = count?,
            [5, 2] | [8, 4] => page.has_lengths = matches!(number, 6 | 7),
            [7, 1] => {
                page.values = count?;
                page.is_dictionary = true;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(Page { head, ..page })
}
