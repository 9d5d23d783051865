//! Charts as SVG files, in colours that can be told apart on light and on dark.

use std::fmt::Write;

/// Lines through points.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

#[derive(Debug)]
pub(super) struct Axis {
    /// What it shows and in which unit.
    pub(super) label: String,
    pub(super) scale: Scale,
    /// Where it is marked, and the first and the last mark are where it ends.
    pub(super) marks: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) colour: Colour,
    pub(super) is_dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// Bars that lie, one below the other, each of two parts.
#[derive(Debug)]
pub(super) struct Bars {
    pub(super) title: String,
    /// What the length shows and in which unit.
    pub(super) label: String,
    /// What the two parts are.
    pub(super) parts: [&'static str; 2],
    pub(super) bars: Vec<Bar>,
}

#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) colour: Colour,
    /// The first is drawn solid and the second lighter.
    pub(super) parts: [f64; 2],
}

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Ours,
    Theirs,
    Other,
}

impl Lines {
    pub(super) fn svg(&self) -> String {
        let legend_lines = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        let height = BOTTOM + 48.0 + ROW * f64::from(legend_lines.div_ceil(2));
        let mut svg = Svg::new(height, &self.title);
        for mark in &self.y.marks {
            let y = self.y.at(*mark, BOTTOM, TOP);
            svg.grid((LEFT, y), (RIGHT, y));
            svg.text((LEFT - 8.0, y + 4.0), "end", &short(*mark));
        }
        for mark in &self.x.marks {
            let x = self.x.at(*mark, LEFT, RIGHT);
            svg.grid((x, TOP), (x, BOTTOM));
            svg.text((x, BOTTOM + 18.0), "middle", &short(*mark));
        }
        svg.text(
            (f64::midpoint(LEFT, RIGHT), BOTTOM + 36.0),
            "middle",
            &self.x.label,
        );
        svg.upright((16.0, f64::midpoint(TOP, BOTTOM)), &self.y.label);
        for (line, index) in self.lines.iter().zip(0_u32..) {
            let place = |(x, y): &(f64, f64)| {
                let x = self.x.at(*x, LEFT, RIGHT);
                (x, self.y.at(*y, BOTTOM, TOP))
            };
            let points: Vec<_> = line.points.iter().map(place).collect();
            svg.polyline(line, &points);
            if points.len() <= DOTTED {
                for point in &points {
                    svg.dot(line.colour, *point);
                }
            }
            let x = LEFT + f64::from(index % 2) * f64::midpoint(0.0, RIGHT - LEFT);
            let y = BOTTOM + 58.0 + ROW * f64::from(index / 2);
            svg.polyline(line, &[(x, y - 4.0), (x + 28.0, y - 4.0)]);
            svg.text((x + 36.0, y), "start", &line.name);
        }
        svg.finish()
    }
}

impl Bars {
    pub(super) fn svg(&self) -> String {
        let rows = u32::try_from(self.bars.len()).unwrap_or(u32::MAX);
        let bottom = TOP + ROW * f64::from(rows);
        let sums = self.bars.iter().map(|bar| bar.parts.iter().sum::<f64>());
        let axis = Axis::from_zero(self.label.clone(), sums.fold(0.0, f64::max));
        let (left, right) = (NAMES, RIGHT - 56.0);
        let mut svg = Svg::new(bottom + 76.0, &self.title);
        for mark in &axis.marks {
            let x = axis.at(*mark, left, right);
            svg.grid((x, TOP), (x, bottom));
            svg.text((x, bottom + 18.0), "middle", &short(*mark));
        }
        svg.text(
            (f64::midpoint(left, right), bottom + 36.0),
            "middle",
            &axis.label,
        );
        for (bar, index) in self.bars.iter().zip(0_u32..) {
            let y = TOP + ROW * f64::from(index);
            svg.text((left - 8.0, y + 14.0), "end", &bar.name);
            let mut sum = 0.0;
            for (part, opacity) in bar.parts.iter().zip(OPACITIES) {
                let from = axis.at(sum, left, right);
                sum += part;
                let width = axis.at(sum, left, right) - from;
                svg.bar(bar.colour, opacity, (from, y + 3.0), width);
            }
            let end = axis.at(sum, left, right);
            svg.text((end + 6.0, y + 14.0), "start", &short(sum));
        }
        for ((name, opacity), index) in self.parts.iter().zip(OPACITIES).zip(0_u32..) {
            let x = left + 140.0 * f64::from(index);
            svg.bar(Colour::Other, opacity, (x, bottom + 50.0), 20.0);
            svg.text((x + 28.0, bottom + 62.0), "start", name);
        }
        svg.finish()
    }
}

impl Axis {
    /// From zero to this or a little more, with marks at round numbers.
    pub(super) fn from_zero(label: String, greatest: f64) -> Self {
        let greatest = greatest.max(f64::MIN_POSITIVE);
        let power = 10_f64.powf(greatest.log10().floor());
        let steps = [0.1, 0.2, 0.5, 1.0, 2.0].map(|step| step * power);
        let mut fitting = steps.into_iter().filter(|step| greatest / step <= 6.0);
        let step = fitting.next().unwrap_or(power);
        let marks = (0..=8).map(|index| step * f64::from(index));
        let mut all: Vec<f64> = Vec::new();
        for mark in marks {
            all.push(mark);
            if mark >= greatest {
                break;
            }
        }
        Self {
            label,
            scale: Scale::Linear,
            marks: all,
        }
    }

    /// The powers of ten around what is between these, each more than zero.
    pub(super) fn decades(label: String, least: f64, greatest: f64) -> Self {
        let mut marks = vec![10_f64.powf(least.log10().floor())];
        while let Some(last) = marks.last().copied() {
            if last >= greatest && marks.len() > 1 {
                break;
            }
            marks.push(last * 10.0);
        }
        Self {
            label,
            scale: Scale::Logarithmic,
            marks,
        }
    }

    /// Where a value is, on an axis that goes from one end to the other.
    fn at(&self, value: f64, from: f64, to: f64) -> f64 {
        let scaled = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        };
        let first = self.marks.first().map_or(0.0, |mark| scaled(*mark));
        let last = self.marks.last().map_or(1.0, |mark| scaled(*mark));
        let share = (scaled(value) - first) / (last - first).max(f64::MIN_POSITIVE);
        from + share.clamp(0.0, 1.0) * (to - from)
    }
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Self::Ours => "#2f81f7",
            Self::Theirs => "#d9730d",
            Self::Other => GREY,
        }
    }
}

/// A number as short as it can be read.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 9999.5 => format!("{:.0}k", value / 1e3),
        size if size >= 99.5 || size == 0.0 => format!("{value:.0}"),
        _ => {
            let digits = format!("{value:.5}");
            let digits = digits.trim_end_matches('0').trim_end_matches('.');
            let significant = digits.trim_start_matches(['0', '.']).len();
            if significant > 3 {
                super::document::significant(value)
            } else {
                digits.to_owned()
            }
        }
    }
}

/// The text of a file while it is written.
struct Svg(String);

impl Svg {
    fn new(height: f64, title: &str) -> Self {
        let mut svg = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n\
             <title>{}</title>\n",
            escaped(title)
        ));
        svg.push(&format!(
            "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>",
            escaped(title)
        ));
        svg
    }

    fn push(&mut self, element: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{element}");
    }

    fn grid(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.push(&format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{GREY}\" stroke-opacity=\"0.3\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn text(&mut self, at: (f64, f64), anchor: &str, text: &str) {
        self.push(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            at.0,
            at.1,
            escaped(text)
        ));
    }

    fn upright(&mut self, at: (f64, f64), text: &str) {
        self.push(&format!(
            "<text transform=\"translate({:.1} {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            at.0,
            at.1,
            escaped(text)
        ));
    }

    fn polyline(&mut self, line: &Line, points: &[(f64, f64)]) {
        let points: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let dashes = if line.is_dashed {
            " stroke-dasharray=\"6 4\""
        } else {
            ""
        };
        self.push(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dashes}/>",
            points.join(" "),
            line.colour.code()
        ));
    }

    fn dot(&mut self, colour: Colour, (x, y): (f64, f64)) {
        let colour = colour.code();
        self.push(&format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
        ));
    }

    fn bar(&mut self, colour: Colour, opacity: f64, (x, y): (f64, f64), width: f64) {
        let colour = colour.code();
        self.push(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\" \
             fill-opacity=\"{opacity}\"/>"
        ));
    }

    fn finish(mut self) -> String {
        self.push("</svg>");
        self.0
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Readable on white and on black.
const GREY: &str = "#7d8590";
const WIDTH: f64 = 720.0;
/// The edges of what lines are drawn in, and of the room that names of bars have.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 300.0;
const NAMES: f64 = 230.0;
const ROW: f64 = 20.0;
const OPACITIES: [f64; 2] = [1.0, 0.5];
/// Lines of so few points have them marked.
const DOTTED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_beyond_what_is_shown() {
        let marks = |greatest| Axis::from_zero(String::new(), greatest).marks;
        assert_eq!(
            marks(41_000.0),
            [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0]
        );
        assert_eq!(marks(100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(marks(9.5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let decades = Axis::decades(String::new(), 30.0, 2000.0).marks;
        assert_eq!(decades, [10.0, 100.0, 1000.0, 10_000.0]);
    }

    #[test]
    fn points_are_where_the_scale_says() {
        let linear = Axis::from_zero(String::new(), 100.0);
        assert_eq!(linear.at(25.0, 200.0, 0.0), 150.0);
        let decades = Axis::decades(String::new(), 1.0, 100.0);
        assert_eq!(decades.at(10.0, 0.0, 50.0), 25.0);
        assert_eq!(decades.at(0.0, 0.0, 50.0), 0.0);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.01, 0.5, 1.0, 12.34, 250.0, 1000.0, 20_000.0].map(short);
        assert_eq!(
            shown,
            ["0", "0.01", "0.5", "1", "12.3", "250", "1000", "20k"]
        );
    }

    #[test]
    fn what_is_said_stays_text() {
        let svg = Bars {
            title: "a < b & c".into(),
            label: "µs".into(),
            parts: ["user", "kernel"],
            bars: vec![Bar {
                name: "<x>".into(),
                colour: Colour::Ours,
                parts: [1.0, 2.0],
            }],
        }
        .svg();
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("&lt;x&gt;"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
