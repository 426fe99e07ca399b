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

/// The series below each other, each with an axis of its own that begins at 0.
pub(super) fn plot(title: &str, along: &str, series: &[Series]) -> String {
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
        let at =
            |(x, y): &(f64, f64)| format!("{:.1},{:.1}", LEFT + x / end * WIDTH, top + HEIGHT - y / scale * HEIGHT);
        let line: Vec<_> = one.points.iter().map(at).collect();
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
    }
    let _ =
        writeln!(svg, "<text x=\"{LEFT}\" y=\"{:.1}\">0 to {end:.1} {}</text>\n</svg>", height - 8.0, escaped(along));
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
        let svg = plot("title", "minutes", &[series]);
        assert!(svg.contains("a &lt; b") && svg.contains("points=\"220.0,130.0 940.0,48.2\""), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
