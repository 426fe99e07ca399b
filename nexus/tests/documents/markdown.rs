//! What a Markdown file holds that can be checked: the anchors of its headings, its links, its code. Pure.

use std::collections::BTreeSet;

/// One file, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Markdown {
    /// What a link may name behind `#`.
    pub(crate) anchors: BTreeSet<String>,
    /// Targets of links and pictures, each with its line.
    pub(crate) links: Vec<(usize, String)>,
    /// Code: lines of fenced blocks, and what stands between backticks, each with its line.
    pub(crate) code: Vec<(usize, String)>,
    /// Fenced blocks, whole.
    pub(crate) blocks: Vec<Block>,
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// The line of its fence.
    pub(crate) line: usize,
    pub(crate) text: String,
}

impl Markdown {
    pub(crate) fn of(text: &str) -> Self {
        let (mut markdown, mut prose) = (Markdown::default(), Prose::default());
        let mut block: Option<Block> = None;
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim_start().starts_with("```") {
                markdown.prose(&mut prose);
                // It closes what is open, and opens a block where none is.
                match block.take() {
                    Some(closed) => markdown.blocks.push(closed),
                    None => block = Some(Block { line, text: String::new() }),
                }
            } else if let Some(open) = &mut block {
                open.text += text;
                open.text.push('\n');
                markdown.code.push((line, text.to_owned()));
            } else if text.trim().is_empty() {
                markdown.prose(&mut prose);
            } else {
                if let Some(heading) = heading(text) {
                    markdown.anchor(heading);
                }
                prose.add(line, text);
            }
        }
        markdown.prose(&mut prose);
        markdown
    }

    /// As GitHub makes it: lower case, blanks as hyphens, nothing but letters, digits, hyphens and underscores; a second
    /// one of the same words gets a number.
    fn anchor(&mut self, heading: &str) {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let plain: String = kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut anchor = plain.clone();
        let mut number = 0;
        while !self.anchors.insert(anchor) {
            number += 1;
            anchor = format!("{plain}-{number}");
        }
    }

    /// Takes a paragraph apart: what stands between backticks may go over a line's end, and links may not be looked for in it.
    fn prose(&mut self, prose: &mut Prose) {
        let Prose { text, starts } = std::mem::take(prose);
        let line_of = |at: usize| starts.iter().rev().find(|(start, _)| *start <= at).map_or(0, |(_, line)| *line);
        let (mut plain, mut at) = (String::new(), 0);
        while let Some(open) = text[at..].find('`').map(|found| at + found) {
            let ticks = text[open..].bytes().take_while(|byte| *byte == b'`').count();
            let (fence, inside) = (&text[open..open + ticks], open + ticks);
            let Some(close) = text[inside..].find(fence).map(|found| inside + found) else { break };
            plain += &text[at..open];
            // Nothing moves: a link's place stays its place.
            plain.extend(std::iter::repeat_n(' ', close + ticks - open));
            self.code.push((line_of(open), text[inside..close].replace('\n', " ")));
            at = close + ticks;
        }
        plain += &text[at..];
        for (place, _) in plain.match_indices("](") {
            let target = plain[place + 2..].split([')', ' ', '\n']).next().unwrap_or_default();
            self.links.push((line_of(place), target.to_owned()));
        }
    }
}

/// A paragraph as it is gathered.
#[derive(Debug, Default)]
struct Prose {
    text: String,
    /// Where each line begins, and its number.
    starts: Vec<(usize, usize)>,
}

impl Prose {
    fn add(&mut self, line: usize, text: &str) {
        self.starts.push((self.text.len(), line));
        self.text += text;
        self.text.push('\n');
    }
}

fn heading(text: &str) -> Option<&str> {
    let words = text.trim_start_matches('#');
    ((1..=6).contains(&(text.len() - words.len())) && words.starts_with(' ')).then(|| words.trim())
}

#[test]
fn a_file_is_taken_apart() {
    let text =
        "# A `b`, c!\n\nSee [it](x.md#y) and `make\ntest` `](no)`.\n\n```\n$ nexus up\n[no](no)\n```\n\n## A b c\n";
    let markdown = Markdown::of(text);
    assert!(markdown.anchors.iter().eq(["a-b-c", "a-b-c-1"]));
    assert_eq!(markdown.links, [(3, "x.md#y".to_owned())]);
    let code: Vec<_> = markdown.code.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(code, [(1, "b"), (3, "make test"), (4, "](no)"), (7, "$ nexus up"), (8, "[no](no)")]);
    assert_eq!(markdown.blocks.len(), 1);
    assert_eq!((markdown.blocks[0].line, markdown.blocks[0].text.as_str()), (6, "$ nexus up\n[no](no)\n"));
}
