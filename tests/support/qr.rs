//! Reads a QR code off a terminal, as a camera that is held before it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

/// Pixels on each side of a module.
const MODULE: usize = 4;
/// Modules of terminal around the drawing.
const MARGIN: usize = 6;

/// What is on the screen: `true` is light.
type Row = Vec<bool>;

/// The one QR code on a dark terminal that shows `printed`.
pub fn read(printed: &str) -> Option<String> {
    let rows: Vec<Row> = printed.lines().filter_map(two_rows).flatten().collect();
    let width = rows.iter().map(Vec::len).max()? + 2 * MARGIN;
    let light = |x: usize, y: usize| -> bool {
        let (x, y) = (x / MODULE, y / MODULE);
        let cell = |row: &Row| x.checked_sub(MARGIN).and_then(|x| row.get(x).copied());
        y.checked_sub(MARGIN).and_then(|y| rows.get(y)).and_then(cell).unwrap_or(false)
    };
    let (width, height) = (width * MODULE, (rows.len() + 2 * MARGIN) * MODULE);
    let mut image =
        rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| if light(x, y) { 255 } else { 0 });
    let [grid] = &image.detect_grids()[..] else { return None };
    grid.decode().ok().map(|(_, text)| text)
}

/// The upper and the lower halves of a line; `None` for one that is no part of a drawing.
fn two_rows(line: &str) -> Option<[Row; 2]> {
    // A dark terminal, until a colour is set.
    let (mut ink, mut ground) = (true, false);
    let (mut upper, mut lower) = (Row::new(), Row::new());
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        let halves = match character {
            '\r' => continue,
            '\x1b' => {
                let code: String = rest.by_ref().take_while(|c| *c != 'm').collect();
                (ink, ground) = match code.as_str() {
                    "[38;5;16;48;5;231" => (false, true),
                    "[0" => (true, false),
                    _ => return None,
                };
                continue;
            }
            '█' => (ink, ink),
            '▀' => (ink, ground),
            '▄' => (ground, ink),
            ' ' => (ground, ground),
            _ => return None,
        };
        upper.push(halves.0);
        lower.push(halves.1);
    }
    (!upper.is_empty()).then_some([upper, lower])
}
