//! A stream of BloscLZ: literals, and references to what came before.
//!
//! | bytes | meaning |
//! |---|---|
//! | `000nnnnn` | n + 1 literals follow |
//! | `lllddddd`, byte | l + 2 bytes again, from d * 256 + byte + 1 back; l is 1 to 6 |
//! | `111ddddd`, bytes, byte | 9 bytes and as many more as the bytes say, up to the first that is not 255 |
//! | `lll11111`, (bytes,) 255, two bytes | the same from 8192 + 256 * the first + the second back |
//!
//! The first instruction is literals whatever its upper bits are, and so is the last one of ours.

const MOST_LITERALS: usize = 32;
/// The last five bits of an instruction and the byte behind it, when two more bytes tell how far back.
const FAR: (usize, u8) = (31, 255);
const NEAR: usize = 8191;
const FURTHEST: usize = NEAR + 65535;
const SHORTEST: usize = 4;
/// What a longer way back costs two bytes more for.
const SHORTEST_FAR: usize = 6;

/// Appends the bytes that a stream stands for, exactly `len` of them; `None` if it stands for something else. `out` is
/// emptied before.
pub(super) fn inflate(mut stream: &[u8], len: usize, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    out.reserve(len);
    let mut first = true;
    while let Some((&code, rest)) = stream.split_first() {
        stream = rest;
        let (kind, low) = (usize::from(code >> 5), usize::from(code & 31));
        if kind == 0 || first {
            let (literals, rest) = stream.split_at_checked(low + 1)?;
            if literals.len() > len - out.len() {
                return None;
            }
            out.extend_from_slice(literals);
            stream = rest;
        } else {
            let mut count = kind + 2;
            if kind == 7 {
                loop {
                    let more = take(&mut stream)?;
                    count += usize::from(more);
                    if more != 255 {
                        break;
                    }
                }
            }
            let byte = take(&mut stream)?;
            let mut back = low * 256 + usize::from(byte) + 1;
            if (low, byte) == FAR {
                back = NEAR + 1 + usize::from(take(&mut stream)?) * 256 + usize::from(take(&mut stream)?);
            }
            if count > len - out.len() {
                return None;
            }
            repeat(out, back, count)?;
        }
        first = false;
    }
    (out.len() == len).then_some(())
}

fn take(stream: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = stream.split_first()?;
    *stream = rest;
    Some(byte)
}

/// Appends `count` bytes from so far back, which may be those that are being appended.
fn repeat(out: &mut Vec<u8>, back: usize, mut count: usize) -> Option<()> {
    let from = out.len().checked_sub(back)?;
    while count > 0 {
        let now = count.min(out.len() - from);
        out.extend_from_within(from..from + now);
        count -= now;
    }
    Some(())
}

/// How hard it looks for repetitions, and what it looks with.
pub(super) struct Effort {
    bits: u32,
    /// How many places with the same beginning are tried.
    tries: u32,
    /// The last place of each beginning, counted from one.
    last: Vec<u32>,
    /// The place before each place that has the same beginning, counted from one.
    before: Vec<u32>,
}

impl Effort {
    pub(super) fn at(level: u8) -> Self {
        let level = u32::from(level);
        Self { bits: 8 + level, tries: 1 << level.saturating_sub(4), last: Vec::new(), before: Vec::new() }
    }

    fn begin(&mut self, len: usize) {
        self.last.clear();
        self.last.resize(1 << self.bits, 0);
        self.before.clear();
        self.before.resize(len, 0);
    }

    fn slot(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let beginning = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
        Some((beginning.wrapping_mul(0x9e37_79b1) >> (32 - self.bits)) as usize)
    }

    fn note(&mut self, bytes: &[u8], at: usize) {
        if let Some(slot) = self.slot(bytes, at) {
            self.before[at] = std::mem::replace(&mut self.last[slot], at as u32 + 1);
        }
    }

    /// The longest repetition at a place that is worth it: how far back, and how long.
    fn find(&self, bytes: &[u8], at: usize) -> Option<(usize, usize)> {
        let mut candidate = self.last[self.slot(bytes, at)?];
        let (mut best, mut longest) = (None, SHORTEST - 1);
        for _ in 0..self.tries {
            let Some(from) = (candidate as usize).checked_sub(1) else { break };
            let back = at - from;
            if back > FURTHEST {
                break;
            }
            let len = common(bytes, from, at);
            if len > longest && (back <= NEAR || len >= SHORTEST_FAR) {
                (best, longest) = (Some((back, len)), len);
            }
            candidate = self.before[from];
        }
        best
    }
}

/// How many bytes at two places are the same, short of the last one of all, which is a literal.
fn common(bytes: &[u8], from: usize, at: usize) -> usize {
    let (earlier, later) = (&bytes[from..], &bytes[at..bytes.len() - 1]);
    let (old, _) = earlier.as_chunks::<8>();
    let (new, _) = later.as_chunks::<8>();
    let whole = old.iter().zip(new).take_while(|(old, new)| old == new).count() * 8;
    whole + earlier[whole..].iter().zip(&later[whole..]).take_while(|(old, new)| old == new).count()
}

/// Appends a stream that stands for `bytes`, of which there are at least two.
pub(super) fn compress(bytes: &[u8], effort: &mut Effort, out: &mut Vec<u8>) {
    effort.begin(bytes.len());
    effort.note(bytes, 0);
    let (mut written, mut at) = (0, 1);
    while at + SHORTEST < bytes.len() {
        let Some((back, len)) = effort.find(bytes, at) else {
            effort.note(bytes, at);
            // Where nothing repeats for long, it looks less closely.
            at += 1 + (at - written) / 128;
            continue;
        };
        literals(&bytes[written..at], out);
        reference(back, len, out);
        let every = if effort.tries > 1 { 1 } else { len };
        (at..at + len).step_by(every).for_each(|at| effort.note(bytes, at));
        at += len;
        written = at;
    }
    literals(&bytes[written..], out);
}

fn literals(bytes: &[u8], out: &mut Vec<u8>) {
    for run in bytes.chunks(MOST_LITERALS) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn reference(back: usize, len: usize, out: &mut Vec<u8>) {
    let (high, near) = if back <= NEAR { ((back - 1) >> 8, (back - 1) as u8) } else { FAR };
    let code = (len - 2).min(7);
    out.push((code << 5 | high) as u8);
    if code == 7 {
        let more = len - 9;
        out.extend(std::iter::repeat_n(255, more / 255));
        out.push((more % 255) as u8);
    }
    out.push(near);
    if back > NEAR {
        out.extend_from_slice(&((back - NEAR - 1) as u16).to_be_bytes());
    }
}
