//! Tables for people: columns as wide as what is in them, figures to the right.

use std::io::Write;

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Writes a heading and rows; the last column is not filled up.
///
/// # Errors
/// As the writer's, except that a reader who has seen enough (a closed pipe) is none.
pub(crate) fn write<const N: usize>(
    out: &mut impl Write,
    heading: [(&str, Align); N],
    rows: &[[String; N]],
) -> std::io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut line = |cells: [&str; N]| {
        let padded = cells.iter().zip(heading).zip(widths).map(|((cell, (_, align)), width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let outcome = line(heading.map(|(name, _)| name))
        .and_then(|()| rows.iter().try_for_each(|row| line(std::array::from_fn(|column| row[column].as_str()))));
    match outcome {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut out = Vec::new();
        let rows = [["a.csv".to_owned(), count(1_234_567)], ["long-name.csv".to_owned(), count(5)]];
        write(&mut out, [("FILE", Align::Left), ("ROWS", Align::Right)], &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "FILE                ROWS\na.csv          1,234,567\nlong-name.csv          5\n");
    }
}
