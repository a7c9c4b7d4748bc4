//! QR codes: for a terminal, and as a drawing for a page.
#![forbid(unsafe_code)]

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around a code that readers want.
const MARGIN: isize = 4;

/// A QR code of a text.
pub struct Qr {
    width: isize,
    dark: Vec<bool>,
}

impl Qr {
    /// Of a text that is short enough for one, as fingerprints are.
    pub fn new(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let width = isize::try_from(code.width()).ok()?;
        Some(Self { width, dark: code.into_colors().into_iter().map(|color| color == Color::Dark).collect() })
    }

    fn is_dark(&self, row: isize, column: isize) -> bool {
        let inside = 0..self.width;
        let at = usize::try_from(row * self.width + column).ok().filter(|_| inside.contains(&row) && inside.contains(&column));
        at.is_some_and(|at| self.dark[at])
    }

    /// Two rows of modules a line. Light is what is drawn, on a dark ground: black on white whatever colours the terminal has.
    pub fn on_terminal(&self) -> String {
        let range = -MARGIN..self.width + MARGIN;
        let mut text = String::new();
        for row in range.clone().step_by(2) {
            text.push_str("\x1b[97;40m");
            for column in range.clone() {
                let light = |row| row < range.end && !self.is_dark(row, column);
                text.push(match (light(row), light(row + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            text.push_str("\x1b[0m\n");
        }
        text
    }

    /// A drawing for a page, with its margin.
    pub fn svg(&self) -> String {
        let size = self.width + 2 * MARGIN;
        let mut path = String::new();
        for row in 0..self.width {
            for column in (0..self.width).filter(|&column| self.is_dark(row, column)) {
                let _ = write!(path, "M{} {}h1v1h-1z", column + MARGIN, row + MARGIN);
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" role=\"img\" aria-label=\"QR code\" \
             shape-rendering=\"crispEdges\"><rect width=\"{size}\" height=\"{size}\" fill=\"#fff\"/><path d=\"{path}\" fill=\"#000\"/></svg>"
        )
    }
}
