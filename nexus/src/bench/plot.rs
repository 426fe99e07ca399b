//! Lines over one axis, as SVG (pure).

use std::fmt::Write;

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 90.0;
const LEFT: f64 = 220.0;
const GAP: f64 = 18.0;

/// What the series go along.
#[derive(Debug, Clone)]
pub(super) enum Along {
    /// So much of it, from 0.
    Much(&'static str),
    /// Steps of it, each with its name, at 0, 1, 2 and so on.
    Steps(&'static str, Vec<String>),
}

/// The series below each other, each with an axis of its own that begins at 0.
pub(super) fn plot(title: &str, along: &Along, series: &[Series]) -> String {
    let end = series.iter().flat_map(|one| &one.points).map(|(x, _)| *x).fold(1e-9, f64::max);
    let (width, height) = (LEFT + WIDTH + 20.0, 60.0 + (HEIGHT + GAP) * series.len() as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"20\" y=\"24\" \
         font-size=\"16\">{}</text>\n",
        escaped(title)
    );
    for (place, one) in series.iter().enumerate() {
        let top = 40.0 + place as f64 * (HEIGHT + GAP);
        let most = one.points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
        let scale = if most > 0.0 { most * 1.1 } else { 1.0 };
        let at = |(x, y): &(f64, f64)| (LEFT + x / end * WIDTH, top + HEIGHT - y / scale * HEIGHT);
        let places: Vec<_> = one.points.iter().map(at).collect();
        let line: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (name, line, bottom, middle) = (escaped(&one.name), line.join(" "), top + HEIGHT, top + HEIGHT / 2.0);
        // Into a string: nothing can fail.
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"{middle}\">{name}</text><text x=\"20\" y=\"{:.1}\" fill=\"gray\">at most {most:.1}</text>\n\
             <line x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{:.1}\" y2=\"{bottom}\" stroke=\"lightgray\"/>\n\
             <polyline points=\"{line}\" fill=\"none\" stroke=\"steelblue\" stroke-width=\"1.5\"/>",
            middle + 16.0,
            LEFT + WIDTH
        );
        if matches!(along, Along::Steps(..)) {
            for (x, y) in places {
                let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"steelblue\"/>");
            }
        }
    }
    let bottom = height - 8.0;
    match along {
        Along::Much(unit) => {
            let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{bottom:.1}\">0 to {end:.1} {}</text>", escaped(unit));
        }
        Along::Steps(unit, names) => {
            let _ = writeln!(svg, "<text x=\"20\" y=\"{bottom:.1}\">{}</text>", escaped(unit));
            for (place, name) in names.iter().enumerate() {
                let (x, name) = (LEFT + place as f64 / end * WIDTH, escaped(name));
                let anchor = if place == 0 { "start" } else { "end" };
                let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{bottom:.1}\" text-anchor=\"{anchor}\">{name}</text>");
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_in_its_frame() {
        let series = Series { name: "a < b".to_owned(), points: vec![(0.0, 0.0), (5.0, 10.0)] };
        let svg = plot("title", &Along::Much("minutes"), std::slice::from_ref(&series));
        assert!(svg.contains("a &lt; b") && svg.contains("points=\"220.0,130.0 940.0,48.2\""), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("<circle"), "{svg}");
        let steps = Along::Steps("rows", vec!["0".to_owned(), "10".to_owned()]);
        let svg = plot("title", &steps, &[Series { points: vec![(0.0, 0.0), (1.0, 10.0)], ..series }]);
        assert!(svg.contains("<circle cx=\"940.0\" cy=\"48.2\"") && svg.contains(">10</text>"), "{svg}");
    }
}
