//! Latencies as a box plot: median, quartiles, and whiskers to the 5th and 95th of a hundred.

use std::fmt::Write as _;

use pigeon_harness::Kind;

use crate::latency::Latencies;
use crate::sample::quantile;

const PANEL: f64 = 340.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;
const BOX: f64 = 56.0;
/// Steps of the time axis.
const STEPS: u32 = 5;
/// Told apart by colour-blind readers too.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#999999"];

/// A panel for each server.
pub(crate) fn draw(panels: &[(Kind, Latencies)]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two")]
    let width = PANEL * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (number, (kind, latencies)) in panels.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "two")]
        let x = PANEL * number as f64;
        let _ = writeln!(svg, "<g transform=\"translate({x} 0)\">");
        panel(&mut svg, *kind, latencies);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, kind: Kind, latencies: &Latencies) {
    let columns = [
        ("direct", sorted(&latencies.direct)),
        ("relayed", sorted(&latencies.relayed)),
        ("fdatasync", sorted(&latencies.sync)),
    ];
    let top = columns.iter().map(|(_, values)| quantile(values, 0.95)).fold(0.0, f64::max) * 1.1;
    let y = |ms: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * ms / top;
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"20\" text-anchor=\"middle\">{}, {} messages of each kind in turns, ms</text>",
        (PANEL + LEFT) / 2.0,
        kind.name(),
        latencies.direct.len()
    );
    for step in 0..=STEPS {
        let ms = top * f64::from(step) / f64::from(STEPS);
        let (y, right) = (y(ms), PANEL - 8.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#e5e5e5\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{ms:.1}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    let asked = y(latencies.asked());
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{asked:.1}\" x2=\"{:.1}\" y2=\"{asked:.1}\" stroke=\"#009e73\" \
         stroke-dasharray=\"6 3\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#009e73\">direct + \
         fdatasync</text>",
        PANEL - 8.0,
        PANEL - 8.0,
        asked - 4.0
    );
    let between = (PANEL - LEFT - 8.0) / 3.0;
    for (number, (name, values)) in columns.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "three")]
        let middle = LEFT + between * (number as f64 + 0.5);
        column(svg, COLOURS[number], middle, values, y);
        let _ = writeln!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            HEIGHT - BOTTOM + 18.0
        );
    }
}

fn column(svg: &mut String, colour: &str, middle: f64, values: &[f64], y: impl Fn(f64) -> f64) {
    let [low, first, median, third, high] =
        [0.05, 0.25, 0.5, 0.75, 0.95].map(|part| y(quantile(values, part)));
    let (left, right) = (middle - BOX / 2.0, middle + BOX / 2.0);
    let _ = writeln!(
        svg,
        "<g stroke=\"{colour}\" fill=\"none\" stroke-width=\"1.5\"><path d=\"M{middle:.1} {low:.1}V{first:.1}M{middle:.1} \
         {third:.1}V{high:.1}M{:.1} {low:.1}H{:.1}M{:.1} {high:.1}H{:.1}\"/><rect x=\"{left:.1}\" y=\"{third:.1}\" \
         width=\"{BOX}\" height=\"{:.1}\" fill=\"{colour}\" fill-opacity=\"0.15\"/><path stroke-width=\"3\" \
         d=\"M{left:.1} {median:.1}H{right:.1}\"/></g><text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.2}</text>",
        middle - BOX / 4.0,
        middle + BOX / 4.0,
        middle - BOX / 4.0,
        middle + BOX / 4.0,
        (first - third).max(0.5),
        HEIGHT - BOTTOM + 34.0,
        quantile(values, 0.5)
    );
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
