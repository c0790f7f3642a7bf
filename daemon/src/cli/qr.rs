//! QR codes in a terminal: two modules to a character.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Black on white whatever the terminal's own colours are: cameras want dark modules on a light ground.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

/// Why a text cannot be shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QrError {
    #[error("{0} bytes are too many for a QR code")]
    TooLong(usize),
    #[error("the QR code is {needed} columns wide, the terminal {there}")]
    TooWide { needed: usize, there: usize },
}

/// Draws `text`. Without `colour` the light modules are drawn, which suits a dark terminal.
///
/// # Errors
/// [`QrError`] where it does not fit a QR code, or `columns` if those are known.
pub(super) fn draw(text: &str, colour: bool, columns: Option<usize>) -> Result<String, QrError> {
    // Low correction keeps a card within 80 columns; a screen is not a scratched label.
    let code =
        QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| QrError::TooLong(text.len()))?;
    let (dark, light) =
        if colour { (Dense1x2::Dark, Dense1x2::Light) } else { (Dense1x2::Light, Dense1x2::Dark) };
    let drawing = code.render::<Dense1x2>().dark_color(dark).light_color(light).build();
    let needed = drawing.lines().next().map_or(0, |line| line.chars().count());
    match columns {
        Some(there) if there < needed => Err(QrError::TooWide { needed, there }),
        _ if colour => Ok(drawing.lines().map(|line| format!("{BLACK_ON_WHITE}{line}{RESET}\n")).collect()),
        _ => Ok(drawing + "\n"),
    }
}

#[cfg(test)]
#[path = "../../../tests/support/qr.rs"]
mod camera;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The greatest card of `docs/wire-format.md` that still makes a code, and the way there.
    #[test]
    fn a_camera_reads_what_is_drawn() {
        for length in [1, 17, 260, 372, 1_000, 2_000, 2_953] {
            let text: String = (b'0'..=b'z').cycle().map(char::from).take(length).collect();
            for colour in [false, true] {
                let drawing = draw(&text, colour, None).unwrap();
                assert_eq!(
                    camera::read(&drawing).as_deref(),
                    Some(text.as_str()),
                    "{length} bytes, {colour}"
                );
            }
        }
        let drawing = draw("one module", false, None).unwrap();
        let inverted: String = drawing
            .chars()
            .map(|c| match c {
                '█' => ' ',
                ' ' => '█',
                '▀' => '▄',
                '▄' => '▀',
                other => other,
            })
            .collect();
        assert_eq!(camera::read(&inverted), None, "a camera that reads everything shows nothing");
    }

    #[test]
    fn a_card_fits_80_columns() {
        // 32-byte keys, secret and prekey, a signature, a name, a JID and a bridge: about 260 bytes.
        let card = format!("pigeon:card:{}", "a".repeat(360));
        let drawing = draw(&card, false, Some(80)).unwrap();
        assert!(drawing.lines().all(|line| line.chars().count() == drawing.lines().count() * 2 - 1));
        assert!(drawing.lines().count() <= 40);
    }

    #[test]
    fn what_does_not_fit_is_an_answer() {
        let card = "a".repeat(3_000);
        assert_eq!(draw(&card, false, None), Err(QrError::TooLong(3_000)));
        assert_eq!(draw("a", true, Some(28)), Err(QrError::TooWide { needed: 29, there: 28 }));
        assert!(draw("a", true, Some(29)).is_ok());
    }

    #[test]
    fn colour_turns_the_modules_round() {
        let (plain, coloured) = (draw("a", false, None).unwrap(), draw("a", true, None).unwrap());
        assert!(plain.starts_with('█'), "the quiet zone is light");
        assert!(coloured.lines().all(|line| line.starts_with(BLACK_ON_WHITE) && line.ends_with(RESET)));
        assert!(coloured.starts_with(&format!("{BLACK_ON_WHITE} ")));
    }
}
