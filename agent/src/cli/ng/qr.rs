//! A text as a QR code: in a terminal, as SVG, as PNG.

use qrcodegen::{QrCode, QrCodeEcc};

use super::Failure;

/// Empty modules around the code (ISO/IEC 18004 §9.1).
const QUIET: i32 = 4;

/// Pixels of a module in a PNG: 600 pixels for a usual configuration.
const PIXELS: usize = 6;

/// A QR code.
pub(super) struct Code(QrCode);

impl std::fmt::Debug for Code {
    /// It may hold a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Code(..)")
    }
}

impl Code {
    /// The code of a text. Low error correction: it is read off a screen.
    pub(super) fn of(text: &str) -> Result<Self, Failure> {
        QrCode::encode_text(text, QrCodeEcc::Low).map(Self).map_err(|_| {
            Failure::Failed(
                "the configuration is too long for a QR code (2,953 bytes); write it to a file with --output, \
                 or give the group a gateway"
                    .to_owned(),
            )
        })
    }

    /// Modules in a row, the quiet zone included.
    fn width(&self) -> i32 {
        self.0.size() + 2 * QUIET
    }

    fn is_dark(&self, x: i32, y: i32) -> bool {
        self.0.get_module(x - QUIET, y - QUIET)
    }

    /// Two rows of modules per line, light on dark: dark modules are the empty space of a dark terminal.
    pub(super) fn terminal(&self) -> String {
        let mut text = String::new();
        for y in (0..self.width()).step_by(2) {
            // Colours by number, so that the code is right on a light terminal too.
            text.push_str("\x1b[97;40m");
            for x in 0..self.width() {
                let lower_is_dark = y + 1 >= self.width() || self.is_dark(x, y + 1);
                text.push(match (self.is_dark(x, y), lower_is_dark) {
                    (false, false) => '█',
                    (false, true) => '▀',
                    (true, false) => '▄',
                    (true, true) => ' ',
                });
            }
            text.push_str("\x1b[0m\n");
        }
        text
    }

    /// A picture in vectors, one path for all dark modules.
    pub(super) fn svg(&self) -> String {
        use std::fmt::Write as _;
        let width = self.width();
        let mut path = String::new();
        for (x, y) in (0..width).flat_map(|y| (0..width).map(move |x| (x, y))) {
            if self.is_dark(x, y) {
                let _ = write!(path, "M{x},{y}h1v1h-1z");
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {width}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0,0h{width}v{width}h-{width}z\"/><path d=\"{path}\"/></svg>\n"
        )
    }

    /// A picture in pixels: one bit each, not compressed, for which no crate is needed (W3C PNG, third
    /// edition).
    pub(super) fn png(&self) -> Vec<u8> {
        let width = usize::try_from(self.width()).unwrap_or_default() * PIXELS;
        let mut rows = Vec::with_capacity(width * (width / 8 + 2));
        for pixel_y in 0..width {
            // Filter type 0: the bytes as they are (§9.2).
            rows.push(0);
            let mut row = vec![0xff_u8; width.div_ceil(8)];
            for pixel_x in 0..width {
                let module = |pixel: usize| i32::try_from(pixel / PIXELS).unwrap_or_default();
                if self.is_dark(module(pixel_x), module(pixel_y)) {
                    row[pixel_x / 8] &= !(0x80 >> (pixel_x % 8));
                }
            }
            rows.extend(row);
        }
        let side = u32::try_from(width).unwrap_or_default().to_be_bytes();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        // One bit of grey per pixel, no interlacing (§11.2.1).
        chunk(&mut png, *b"IHDR", &[&side[..], &side, &[1, 0, 0, 0, 0]].concat());
        chunk(&mut png, *b"IDAT", &stored(&rows));
        chunk(&mut png, *b"IEND", &[]);
        png
    }
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).unwrap_or_default().to_be_bytes());
    let mut sum = crc32fast::Hasher::new();
    for part in [&kind[..], data] {
        sum.update(part);
        png.extend(part);
    }
    png.extend(sum.finalize().to_be_bytes());
}

/// A zlib stream of stored blocks (RFC 1950, RFC 1951 §3.2.4).
fn stored(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let mut blocks = data.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        stream.push(u8::from(blocks.peek().is_none()));
        let length = u16::try_from(block.len()).unwrap_or_default();
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(block);
    }
    // Adler-32 (RFC 1950 §8.2).
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in data {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    stream.extend(((high << 16) | low).to_be_bytes());
    stream
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of PNG files sees: the pixels, dark or not.
    fn pixels(png: &[u8]) -> Vec<Vec<bool>> {
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
        let (mut at, mut width, mut data) = (8, 0, Vec::new());
        while at < png.len() {
            let (length, kind) = (number(at), &png[at + 4..at + 8]);
            let sum = crc32fast::hash(&png[at + 4..at + 8 + length]);
            assert_eq!(sum as usize, number(at + 8 + length), "checksum of {kind:?}");
            match kind {
                b"IHDR" => width = number(at + 8),
                b"IDAT" => data.extend(&png[at + 8..at + 8 + length]),
                _ => {}
            }
            at += 12 + length;
        }
        let (mut rows, mut at) = (Vec::new(), 2);
        loop {
            let length = usize::from(u16::from_le_bytes([data[at + 1], data[at + 2]]));
            assert_eq!(!u16::from_le_bytes([data[at + 3], data[at + 4]]) as usize, length);
            rows.extend(&data[at + 5..at + 5 + length]);
            at += 5 + length;
            if data[at - 5 - length] == 1 {
                break;
            }
        }
        let bit = |row: &[u8], x: usize| row[1 + x / 8] & (0x80 >> (x % 8)) == 0;
        rows.chunks(1 + width.div_ceil(8)).map(|row| (0..width).map(|x| bit(row, x)).collect()).collect()
    }

    #[test]
    fn all_three_forms_show_the_same_modules() {
        let code = Code::of(&"a configuration, ".repeat(60)).unwrap();
        let png = pixels(&code.png());
        let terminal: Vec<Vec<char>> = code
            .terminal()
            .lines()
            .map(|line| line.trim_start_matches("\x1b[97;40m").trim_end_matches("\x1b[0m").chars().collect())
            .collect();
        let svg = code.svg();
        let modules = 0..code.width();
        let width = modules.clone().count();
        assert_eq!((png.len(), terminal[0].len()), (width * PIXELS, width));
        for (module_x, module_y) in modules.clone().flat_map(|y| modules.clone().map(move |x| (x, y))) {
            let dark = code.is_dark(module_x, module_y);
            let [x, y] = [module_x, module_y].map(|at| usize::try_from(at).unwrap());
            assert_eq!(png[y * PIXELS][x * PIXELS], dark);
            assert_eq!(png[y * PIXELS + PIXELS - 1][x * PIXELS + PIXELS - 1], dark);
            let half = terminal[y / 2][x];
            let light = half == '█' || half == if y % 2 == 0 { '▀' } else { '▄' };
            assert_eq!(!light, dark, "{x},{y}");
            assert_eq!(svg.contains(&format!("M{x},{y}h1v1h-1z")), dark);
        }
    }

    #[test]
    fn a_text_that_no_code_holds_is_refused() {
        assert!(Code::of(&"x".repeat(2_953)).is_ok());
        assert!(Code::of(&"x".repeat(2_954)).unwrap_err().to_string().contains("--output"));
    }
}
