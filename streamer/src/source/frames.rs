//! Records with their places, one after the other, out of an input: the framing rules applied to bytes as they come.

use std::io;

use flate2::Crc;
use nexus_common::domain::Reject;

use super::framing::{Rules, Scan, scan};
use super::header::Header;
use super::input::Input;
use super::line::Line;
use super::window::Window;

/// One record, or one line given up, with its place.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) line: u64,
    pub(crate) byte: u64,
    pub(crate) end: u64,
    pub(crate) next_line: u64,
    pub(crate) crc: u32,
    pub(crate) body: Body,
}

/// What a frame holds.
#[derive(Debug)]
pub(crate) enum Body {
    /// A record; [`Frames::content`] has its bytes until the next step.
    Record {
        /// Bytes of the record with its line end.
        whole: usize,
        /// Bytes without it.
        content: usize,
    },
    /// A line that is no record.
    Torn(Reject),
}

/// What a step led to.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next frame.
    Frame(Frame),
    /// The input has nothing more for now.
    Dry,
}

/// The frames of an input.
pub(crate) struct Frames {
    pub(crate) input: Input,
    window: Window,
    pub(crate) rules: Rules,
    /// Bytes consumed, and the line they end before.
    at: u64,
    line: u64,
    /// Where the next frame starts: behind the last one.
    start: u64,
    /// Over the bytes from `start` to `at`.
    crc: Crc,
    /// A line that is being given up and has not ended yet, and the line it is on.
    given_up: Option<(Line, u64)>,
}

impl Frames {
    pub(crate) fn new(input: Input, rules: Rules) -> Self {
        let window = Window::default();
        Frames { input, window, rules, at: 0, line: 1, start: 0, crc: Crc::new(), given_up: None }
    }

    /// The next frame. `last` says that what was read is all there is: nothing more is read then.
    ///
    /// Blank lines and repetitions of the header are passed over; their bytes go to the next frame.
    pub(crate) fn step(&mut self, last: bool, header: Option<&Header>) -> io::Result<Step> {
        loop {
            let frame = match self.given_up.take() {
                Some((line, number)) => self.give_up(line, number, last),
                None => match scan(self.window.bytes(), last, self.rules) {
                    Scan::More => None,
                    Scan::Blank(length) => {
                        self.advance(length, true);
                        continue;
                    }
                    Scan::Record { content, whole }
                        if header.is_some_and(|header| header.is_repeated(&self.window.bytes()[..content])) =>
                    {
                        self.advance(whole, true);
                        continue;
                    }
                    Scan::Record { content, whole } => {
                        let line = self.line;
                        self.advance(whole, true);
                        Some(self.frame(line, Body::Record { whole, content }))
                    }
                    Scan::Torn(torn) => {
                        let line = Line::new(torn.reason(self.rules.max_bytes));
                        self.give_up(line, self.line, last)
                    }
                },
            };
            match frame {
                Some(frame) => return Ok(Step::Frame(frame)),
                None if last || !self.window.fill(&mut self.input)? => return Ok(Step::Dry),
                None => {}
            }
        }
    }

    /// The bytes of the record that the last step led to.
    pub(crate) fn content(&self, whole: usize, content: usize) -> &[u8] {
        self.window.behind(whole, content)
    }

    /// Bytes read from the input so far.
    pub(crate) fn position(&self) -> u64 {
        self.at + self.window.bytes().len() as u64
    }

    /// Goes on at a place between two rows.
    pub(crate) fn place(&mut self, byte: u64, line: u64) {
        self.window.clear();
        self.at = byte;
        self.start = byte;
        self.line = line;
        self.crc = Crc::new();
        self.given_up = None;
    }

    fn give_up(&mut self, mut line: Line, number: u64, last: bool) -> Option<Frame> {
        let (taken, ended) = line.take(self.window.bytes(), last, &mut self.crc);
        self.advance(taken, false);
        if ended {
            return Some(self.frame(number, Body::Torn(line.reject())));
        }
        self.given_up = Some((line, number));
        None
    }

    fn advance(&mut self, bytes: usize, checksum: bool) {
        let passed = &self.window.bytes()[..bytes];
        if checksum {
            self.crc.update(passed);
        }
        self.line += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.at += bytes as u64;
        self.window.consume(bytes);
    }

    fn frame(&mut self, line: u64, body: Body) -> Frame {
        let crc = self.crc.sum();
        self.crc.reset();
        let byte = std::mem::replace(&mut self.start, self.at);
        Frame { line, byte, end: self.at, next_line: self.line, crc, body }
    }
}
