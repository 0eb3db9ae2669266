//! Pixels, lines and letters of the picture.

use std::{fs::File, io::BufWriter, path::Path};

use anyhow::{Context, Result};

/// A colour: red, green, blue.
pub(crate) type Rgb = [u8; 3];

/// Width of a letter in pixels.
pub(crate) const LETTER_WIDTH: usize = 9;
const LETTER_HEIGHT: usize = 15;
/// The letters ' ' to '~', first regular, then bold: 15 rows of two bytes each, big-endian, the
/// leftmost pixel in the highest bit (see `fixtures/README.md`).
const LETTERS: &[u8] = include_bytes!("../../fixtures/font/9x15.bin");
const LETTERS_PER_FACE: usize = 95;

/// Weight of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    Regular,
    Bold,
}

/// An image of 8-bit RGB.
pub(crate) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    pub(crate) fn new(width: usize, height: usize, ground: Rgb) -> Self {
        Self {
            width,
            height,
            pixels: ground.repeat(width * height),
        }
    }

    /// Paints one pixel with `share` of the colour (0 to 1); outside the image nothing happens.
    pub(crate) fn dot(&mut self, x: usize, y: usize, colour: Rgb, share: f64) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = (y * self.width + x) * 3;
        for (old, new) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            *old = (f64::from(*old) * (1.0 - share) + f64::from(new) * share).round() as u8;
        }
    }

    /// Paints a rectangle.
    pub(crate) fn fill(
        &mut self,
        x: usize,
        y: usize,
        size: (usize, usize),
        colour: Rgb,
        share: f64,
    ) {
        for row in y..y + size.1 {
            for column in x..x + size.0 {
                self.dot(column, row, colour, share);
            }
        }
    }

    /// Outlines a rectangle with lines of one pixel.
    pub(crate) fn outline(
        &mut self,
        x: usize,
        y: usize,
        size: (usize, usize),
        colour: Rgb,
        share: f64,
    ) {
        let (width, height) = size;
        self.fill(x, y, (width, 1), colour, share);
        self.fill(x, y + height.saturating_sub(1), (width, 1), colour, share);
        self.fill(x, y + 1, (1, height.saturating_sub(2)), colour, share);
        let right = x + width.saturating_sub(1);
        self.fill(right, y + 1, (1, height.saturating_sub(2)), colour, share);
    }

    /// Writes one line of ASCII; other characters become `?`.
    pub(crate) fn text(&mut self, x: usize, y: usize, text: &str, face: Face, colour: Rgb) {
        for (n, letter) in text.chars().enumerate() {
            let code = if (' '..='~').contains(&letter) {
                letter
            } else {
                '?'
            };
            let mut index = code as usize - ' ' as usize;
            if face == Face::Bold {
                index += LETTERS_PER_FACE;
            }
            let rows = LETTERS
                .chunks_exact(2)
                .skip(index * LETTER_HEIGHT)
                .take(LETTER_HEIGHT);
            for (row, bits) in rows.enumerate() {
                let bits = u16::from_be_bytes([bits[0], bits[1]]);
                for column in (0..LETTER_WIDTH).filter(|column| bits & (0x8000 >> column) != 0) {
                    self.dot(x + n * LETTER_WIDTH + column, y + row, colour, 1.0);
                }
            }
        }
    }

    /// Writes the image as PNG.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let describe = || format!("cannot write {}", path.display());
        let file = BufWriter::new(File::create(path).with_context(describe)?);
        let size = |pixels: usize| u32::try_from(pixels).context("a picture of 4 billion pixels");
        let mut encoder = png::Encoder::new(file, size(self.width)?, size(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().with_context(describe)?;
        writer
            .write_image_data(&self.pixels)
            .with_context(describe)?;
        writer.finish().with_context(describe)
    }
}
