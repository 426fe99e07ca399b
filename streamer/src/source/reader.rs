//! A source: rows out of one file or stream, in order, each with its place.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nexus_common::domain::{Content, Row, Timestamp};
use serde::{Deserialize, Serialize};

use super::fingerprint::fingerprint;
use super::form::Parser;
use super::frames::{Body, Frame, Frames, Step};
use super::framing::Rules;
use super::header::Header;
use super::input::Input;
use super::tail::{self, Fate, FileId};
use super::{Error, Form, Location, Options, Stripe};

/// What a source answers when asked for its next row.
#[derive(Debug, Clone, PartialEq)]
// One at a time and moved at once: a box for each row would cost more than it saves.
#[allow(clippy::large_enum_variant)]
pub enum Next {
    /// A row, understood or not.
    Row(Row),
    /// Nothing yet: ask again later. Only a followed file answers so.
    Pending,
    /// Nothing any more: ask no further.
    End(End),
}

/// Why a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was read to its end.
    Complete,
    /// The file was cut: what it holds now is another source.
    Truncated,
    /// The file was read to its end, and its name stands for another file now.
    Rotated,
}

/// The last row that was published: enough to go on behind it, and to know its file again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where the row starts.
    pub byte: u64,
    /// Where the next row starts.
    pub end: u64,
    /// Line the next row starts on.
    pub next_line: u64,
    /// CRC-32 of the row's bytes.
    pub crc: u32,
}

impl From<&Row> for Checkpoint {
    fn from(row: &Row) -> Self {
        Checkpoint { byte: row.byte, end: row.end, next_line: row.next_line, crc: row.crc }
    }
}

/// An open source, its header understood.
pub struct Source {
    name: String,
    /// Of a file; a stream has none.
    path: Option<PathBuf>,
    id: Option<FileId>,
    follow: bool,
    stripe: Stripe,
    frames: Frames,
    parser: Parser,
    fingerprint: Option<String>,
    /// The header; its end is where the first row starts.
    header: Checkpoint,
    /// The last frame that was read, or the header.
    mark: Checkpoint,
    /// Read ahead for the fingerprint.
    ahead: Option<Frame>,
    /// What was read is all there is.
    last: Option<End>,
    /// How far the file had been read when it was dry, and whether its name stood for another file then.
    dry: Option<(u64, Fate)>,
    /// Shared with the discovery that found this source: whether it was read to its end.
    complete: Arc<AtomicBool>,
}

impl Source {
    /// Opens a source and reads its header, and the first row where there is one.
    pub fn open(location: &Location, options: &Options) -> Result<Self, Error> {
        let name = location.to_string();
        match location {
            Location::Stdin => Source::from_reader(name, io::stdin(), options),
            Location::File(path) => {
                let opened = File::open(path).and_then(|file| Ok((FileId::of(&file.metadata()?), Input::file(file)?)));
                let (id, input) = opened.map_err(|cause| Error::read(&name, cause))?;
                Source::start(name, Some((path, id)), input, options)
            }
        }
    }

    /// A source that can be read once, from the start, compressed or not.
    pub fn from_reader(
        name: impl Into<String>,
        reader: impl Read + Send + 'static,
        options: &Options,
    ) -> Result<Self, Error> {
        let name = name.into();
        let input = Input::stream(reader).map_err(|cause| Error::read(&name, cause))?;
        Source::start(name, None, input, options)
    }

    fn start(name: String, file: Option<(&Path, FileId)>, input: Input, options: &Options) -> Result<Self, Error> {
        let follow = options.follow && input.plain().is_some();
        let mut frames = Frames::new(input, Rules { max_bytes: options.max_row_bytes, columns: None });
        let (header, place) = read_header(&name, &mut frames, follow)?;
        if header.form == Form::Smi && options.source_host.is_none() {
            return Err(Error::header(&name, "the rows name no host and SOURCE_HOST is not set"));
        }
        frames.rules.columns = Some(header.roles.len());
        let mut source = Source {
            name,
            path: file.map(|(path, _)| path.to_owned()),
            id: file.map(|(_, id)| id),
            follow,
            stripe: options.stripe,
            frames,
            parser: Parser::new(header, options),
            fingerprint: None,
            header: place,
            mark: place,
            ahead: None,
            last: None,
            dry: None,
            complete: Arc::default(),
        };
        if let Ahead::Frame(frame) = source.frame()? {
            source.ahead = Some(frame);
        }
        Ok(source)
    }

    /// What to call it in logs and dead letters: the path, or `standard input`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's path; a stream has none.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The form its header tells.
    pub fn form(&self) -> Form {
        self.parser.header().form
    }

    /// The header as it stands in the file, without byte order mark and line end.
    pub fn header(&self) -> &[u8] {
        &self.parser.header().raw
    }

    /// 16 hex digits that name its content; `None` until the first row is complete.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Size in bytes now; `None` where it cannot be known: compressed, or a stream.
    pub fn total_bytes(&self) -> Option<u64> {
        self.frames.input.plain()?.metadata().ok().map(|meta| meta.len())
    }

    /// Whether [`resume`](Self::resume) can work: not for a stream.
    pub fn is_resumable(&self) -> bool {
        !self.frames.input.is_stream()
    }

    /// The next row of this source's stripe.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Next, Error> {
        loop {
            let frame = match self.ahead.take() {
                Some(frame) => frame,
                None => match self.frame()? {
                    Ahead::Frame(frame) => frame,
                    Ahead::Pending => return Ok(Next::Pending),
                    Ahead::End(end) => {
                        self.complete.store(end == End::Complete, Ordering::Relaxed);
                        return Ok(Next::End(end));
                    }
                },
            };
            if self.stripe.owns(frame.byte) {
                return Ok(Next::Row(self.row(frame)));
            }
        }
    }

    /// Goes on behind the row of a checkpoint; `false`, and nothing changes, if this is not the content it was taken
    /// of. A stream cannot go on anywhere.
    pub fn resume(&mut self, checkpoint: &Checkpoint) -> Result<bool, Error> {
        let known = self.goes_on(checkpoint).map_err(|cause| Error::read(&self.name, cause))?;
        if self.is_resumable() {
            let place = if known { *checkpoint } else { self.header };
            self.frames.place(place.end, place.next_line);
            self.mark = place;
            self.ahead = None;
            self.last = None;
            self.dry = None;
        }
        Ok(known)
    }

    /// Goes on at the row that starts at this byte: where a batch began, say. Lines are counted from `line` on. Whether a
    /// row starts there, only the rows can tell. `false`, and nothing is left to read: a stream, or a file that is shorter.
    pub fn start_at(&mut self, byte: u64, line: u64) -> Result<bool, Error> {
        let placed = self.frames.input.restart_at(byte).map_err(|cause| Error::read(&self.name, cause))?;
        self.frames.place(byte, line);
        self.mark = Checkpoint { byte, end: byte, next_line: line, crc: 0 };
        self.ahead = None;
        self.last = (!placed).then_some(End::Complete);
        self.dry = None;
        Ok(placed)
    }

    pub(crate) fn id(&self) -> Option<FileId> {
        self.id
    }

    pub(crate) fn complete(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.complete)
    }

    /// Leaves the input behind the checkpoint's row, or behind the header.
    fn goes_on(&mut self, checkpoint: &Checkpoint) -> io::Result<bool> {
        let Checkpoint { byte, end, crc, .. } = *checkpoint;
        let input = &mut self.frames.input;
        let plausible = byte >= self.header.end && end > byte;
        if plausible && input.restart_at(byte)? && input.checksum(end - byte)? == Some(crc) {
            return Ok(true);
        }
        input.restart_at(self.header.end)?;
        Ok(false)
    }

    fn row(&mut self, frame: Frame) -> Row {
        let Frame { line, byte, end, next_line, crc, body } = frame;
        let content = match body {
            Body::Record { whole, content } => self.parser.parse(self.frames.content(whole, content), Timestamp::now()),
            Body::Torn(reject) => Content::Reject(reject),
        };
        Row { line, byte, end, next_line, crc, content }
    }

    fn frame(&mut self) -> Result<Ahead, Error> {
        self.step().map_err(|cause| Error::read(&self.name, cause))
    }

    fn step(&mut self) -> io::Result<Ahead> {
        self.notice_rewriting()?;
        loop {
            match self.frames.step(self.last.is_some(), Some(self.parser.header()))? {
                Step::Frame(frame) => {
                    self.note(&frame);
                    return Ok(Ahead::Frame(frame));
                }
                Step::Dry => match self.last {
                    Some(end) => return Ok(Ahead::End(end)),
                    None => self.last = self.ending()?,
                },
            }
            if self.last.is_none() {
                return Ok(Ahead::Pending);
            }
        }
    }

    fn note(&mut self, frame: &Frame) {
        let Frame { byte, end, next_line, crc, .. } = *frame;
        self.mark = Checkpoint { byte, end, next_line, crc };
        if self.fingerprint.is_none() && byte == self.header.end {
            let first_row = match &frame.body {
                Body::Record { whole, content } => self.frames.content(*whole, *content),
                Body::Torn(reject) => &reject.raw,
            };
            self.fingerprint = Some(fingerprint(&self.parser.header().raw, first_row));
        }
    }

    /// Whether a source that has nothing more for now has ended, and how.
    fn ending(&mut self) -> io::Result<Option<End>> {
        let (Some(file), Some(path), true) = (self.frames.input.plain(), &self.path, self.follow) else {
            return Ok(Some(End::Complete));
        };
        let position = self.frames.position();
        let fate = tail::fate(file, path, position)?;
        // A replaced file is done when it is dry twice: what was written between the first look and the rename is read.
        let before = self.dry.replace((position, fate));
        Ok(match fate {
            Fate::Lives => None,
            Fate::Truncated => Some(End::Truncated),
            Fate::Replaced => (before == self.dry).then_some(End::Rotated),
        })
    }

    /// A file that was cut and has grown past the place since must not be read from the middle of its new content.
    fn notice_rewriting(&mut self) -> io::Result<()> {
        let (Some(file), Some((position, _)), None) = (self.frames.input.plain(), self.dry, self.last) else {
            return Ok(());
        };
        let Checkpoint { byte, end, crc, .. } = self.mark;
        let untouched = self.frames.position() == position;
        if untouched && file.metadata()?.len() > position && !tail::holds(file, byte, end, crc)? {
            self.last = Some(End::Truncated);
        }
        Ok(())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = &self.frames.input;
        f.debug_struct("Source").field("name", &self.name).field("input", input).finish_non_exhaustive()
    }
}

enum Ahead {
    Frame(Frame),
    Pending,
    End(End),
}

/// The header and its place, as a checkpoint in front of the first row.
fn read_header(name: &str, frames: &mut Frames, follow: bool) -> Result<(Header, Checkpoint), Error> {
    let mut last = false;
    let frame = loop {
        match frames.step(last, None).map_err(|cause| Error::read(name, cause))? {
            Step::Frame(frame) => break frame,
            Step::Dry if follow => return Err(Error::Incomplete { name: name.to_owned() }),
            Step::Dry if last => return Err(Error::Empty { name: name.to_owned() }),
            Step::Dry => last = true,
        }
    };
    let header = match frame.body {
        Body::Record { whole, content } => Header::read(frames.content(whole, content)),
        Body::Torn(reject) => Err(format!("not a CSV file: {}", reject.reason)),
    };
    let header = header.map_err(|problem| Error::header(name, problem))?;
    Ok((header, Checkpoint { byte: frame.byte, end: frame.end, next_line: frame.next_line, crc: frame.crc }))
}
