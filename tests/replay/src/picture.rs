//! Deliveries over time as an SVG picture.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::ReplayError;
use crate::metrics::Metrics;
use crate::scenario::Scenario;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 48.0;
/// Steps of the time axis, and points of a curve.
const STEPS: u32 = 6;
const POINTS: u32 = 240;
/// Told apart by colour-blind readers too, and in print by their dashes.
const STYLES: [(&str, &str); 5] =
    [("#0072b2", ""), ("#d55e00", "6 3"), ("#009e73", "2 2"), ("#555555", "8 2 2 2"), ("#cc79a7", "1 3")];

/// Writes the picture: for each policy, the part of all messages that had arrived so long after they were written.
pub(crate) fn write(path: &Path, scenario: &Scenario, curves: &[(&str, Metrics)]) -> Result<(), ReplayError> {
    let error = |source| ReplayError::Write { path: path.to_owned(), source };
    std::fs::write(path, draw(scenario, curves)).map_err(error)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds below 2^52")]
fn draw(scenario: &Scenario, curves: &[(&str, Metrics)]) -> String {
    let longest_ms = scenario.messages.iter().map(|message| message.ttl_ms).max().unwrap_or(1);
    let span_s = longest_ms as f64 / 1000.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    axes(&mut svg, span_s);
    for (number, (name, metrics)) in curves.iter().enumerate() {
        curve(&mut svg, number, name, metrics, span_s);
    }
    svg + "</svg>\n"
}

fn axes(svg: &mut String, span_s: f64) {
    for step in 0..=STEPS {
        let part = f64::from(step) / f64::from(STEPS);
        let (x, bottom) = (x_at(part), y_at(0.0));
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#e5e5e5\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1}</text>",
            bottom + 16.0,
            part * span_s / 3600.0
        );
    }
    for tenth in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        let y = y_at(tenth);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#e5e5e5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            x_at(1.0),
            LEFT - 6.0,
            y + 4.0,
            tenth * 100.0
        );
    }
    let (middle, below) = (x_at(0.5), HEIGHT - 10.0);
    let _ = writeln!(
        svg,
        "<text x=\"{middle:.1}\" y=\"{below}\" text-anchor=\"middle\">hours after writing</text>"
    );
}

fn curve(svg: &mut String, number: usize, name: &str, metrics: &Metrics, span_s: f64) {
    let (colour, dashes) = STYLES[number % STYLES.len()];
    let mut points = String::new();
    let mut last = 0.0;
    for point in 0..=POINTS {
        let part = f64::from(point) / f64::from(POINTS);
        last = arrived(metrics, part * span_s);
        let _ = write!(points, "{:.1},{:.1} ", x_at(part), y_at(last));
    }
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
        points.trim_end()
    );
    // The legend stands in the order of the curves, each line where there is room.
    #[expect(clippy::cast_precision_loss, reason = "a handful of curves")]
    let y = TOP + 14.0 + 18.0 * number as f64;
    let (from, to) = (x_at(1.0) + 10.0, x_at(1.0) + 34.0);
    let _ = writeln!(
        svg,
        "<line x1=\"{from:.1}\" y1=\"{:.1}\" x2=\"{to:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"2\" \
         stroke-dasharray=\"{dashes}\"/><text x=\"{:.1}\" y=\"{y:.1}\">{name} {:.0} %</text>",
        y - 4.0,
        y - 4.0,
        to + 5.0,
        last * 100.0
    );
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn arrived(metrics: &Metrics, within_s: f64) -> f64 {
    let count = metrics.delays_s.partition_point(|delay_s| *delay_s <= within_s);
    count as f64 / metrics.created.max(1) as f64
}

fn x_at(part: f64) -> f64 {
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

fn y_at(part: f64) -> f64 {
    TOP + (1.0 - part) * (HEIGHT - TOP - BOTTOM)
}
