//! Letters into batches (pure): as the streamer cuts rows, but letters lie apart in their files.

use crate::books::letters::Letter;
use crate::queue::{Body, Bounds, Draft, Source};

/// About what a message costs besides its value: keys, protobuf.
const MESSAGE_OVERHEAD: usize = 300;
/// How much longer the names are under which the live feed tells of a message than those in it.
const TOLD_OVERHEAD: usize = 50;

/// Fills batches letter by letter; each holds letters of one file and pass.
pub(super) struct Packer {
    bounds: Bounds,
    open: Option<Open>,
}

struct Open {
    draft: Draft,
    bytes: usize,
    /// Bytes of the live feed's value that will tell of it, from above.
    told: usize,
    last: i64,
}

/// A batch, and the last letter in it.
pub(super) type Packed = (Draft, i64);

impl Packer {
    pub(super) fn new(bounds: Bounds) -> Self {
        Packer { bounds, open: None }
    }

    /// Takes a letter in. Returns the batch before it, if the letter no longer fits.
    pub(super) fn push(&mut self, letter: &Letter, shift_us: i64, body: Body) -> Option<Packed> {
        let encoded = body.encode().len();
        let (size, told) = (encoded + MESSAGE_OVERHEAD, encoded + TOLD_OVERHEAD);
        let source = place(letter, shift_us, &body);
        let full = self.open.as_ref().is_some_and(|open| {
            let before = &open.draft.source;
            open.draft.messages.len() >= self.bounds.messages
                || open.bytes + size > self.bounds.bytes
                || open.told + told > self.bounds.feed
                || (&before.file, before.pass, before.shift_us) != (&source.file, source.pass, source.shift_us)
        });
        let done = if full { self.flush() } else { None };
        let open = self.open.get_or_insert_with(|| Open {
            draft: Draft { messages: Vec::new(), rows: 0, source: source.clone(), traceparent: None },
            bytes: 0,
            told: 0,
            last: 0,
        });
        let all = &mut open.draft.source;
        all.lines = [all.lines[0].min(source.lines[0]), all.lines[1].max(source.lines[1])];
        all.bytes = [all.bytes[0].min(source.bytes[0]), all.bytes[1].max(source.bytes[1])];
        open.draft.rows += body.rows() as u64;
        open.draft.messages.push(body);
        open.bytes += size;
        open.told += told;
        open.last = letter.id;
        done
    }

    /// The open batch as it is.
    pub(super) fn flush(&mut self) -> Option<Packed> {
        self.open.take().map(|open| (open.draft, open.last))
    }
}

/// Where a letter's rows stood. Where a row of a message ended is not known: its first byte stands for it.
fn place(letter: &Letter, shift_us: i64, body: &Body) -> Source {
    let (lines, bytes) = match body {
        Body::Rows { rows, .. } => {
            let lines = rows.iter().map(|row| row.line);
            let bytes = rows.iter().map(|row| row.byte);
            let least = |all: &mut dyn Iterator<Item = u64>| all.min().unwrap_or(0);
            let most = |all: &mut dyn Iterator<Item = u64>| all.max().unwrap_or(0);
            (
                [least(&mut lines.clone()), most(&mut lines.clone())],
                [least(&mut bytes.clone()), most(&mut bytes.clone()) + 1],
            )
        }
        Body::Dead { line, byte, reject } => ([*line, *line], [*byte, byte + reject.raw_bytes]),
    };
    Source { file: letter.file.clone(), pass: letter.pass.unsigned_abs(), lines, bytes, shift_us }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::redrive::understand::tests::row;
    use crate::domain::Reject;

    #[test]
    fn every_letter_is_in_one_batch_within_bounds() {
        let bounds = Bounds { rows: 1, messages: 3, bytes: 2_000, feed: 2_000 };
        let mut packer = Packer::new(bounds);
        let mut done = Vec::new();
        for id in 1..=40 {
            let mut letter = row(b"").letter;
            letter.id = id;
            letter.file = (id / 7).to_string();
            let reject = Reject::new("why", &vec![b'x'; usize::try_from(id * 20).unwrap()]);
            let body = Body::Dead { line: id.unsigned_abs(), byte: 10 * id.unsigned_abs(), reject };
            done.extend(packer.push(&letter, 0, body));
        }
        done.extend(packer.flush());
        let mut next = 1;
        for (draft, last) in &done {
            let bytes: usize = draft.messages.iter().map(|body| body.encode().len() + MESSAGE_OVERHEAD).sum();
            assert!(draft.messages.len() == 1 || bytes <= bounds.bytes && draft.messages.len() <= bounds.messages);
            assert_eq!(draft.rows, draft.messages.len() as u64);
            assert_eq!(draft.source.lines, [next, last.unsigned_abs()], "one file a batch, and none left out");
            assert_eq!(draft.source.file, (next / 7).to_string());
            next += draft.rows;
        }
        assert_eq!(next, 41);
    }
}
