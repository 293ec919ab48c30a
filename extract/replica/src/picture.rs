//! Pictures: real PNG files with nothing in them worth looking at, so that a crawler that loads them pays for them.

use crate::seed;

const WIDTH: u32 = 160;
const HEIGHT: u32 = 120;

/// A picture for a name, always the same: about 56 KB, since it is stored and not compressed.
pub(crate) fn png(name: &str) -> Vec<u8> {
    let tint = seed::text(name).to_le_bytes();
    let mut rows = Vec::new();
    for y in 0..HEIGHT {
        // Each row starts with its filter: none.
        rows.push(0);
        for x in 0..WIDTH {
            let grain = seed::mix(u64::from(y * WIDTH + x) ^ u64::from(tint[3])).to_le_bytes()[0] & 0x1f;
            rows.extend([tint[0], tint[1], tint[2]].map(|channel| (channel | 0x40).wrapping_add(grain)));
        }
    }
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut head = Vec::new();
    head.extend(WIDTH.to_be_bytes());
    head.extend(HEIGHT.to_be_bytes());
    // 8 bits a channel, RGB, deflate, adaptive filters, no interlace.
    head.extend([8, 2, 0, 0, 0]);
    chunk(&mut out, *b"IHDR", &head);
    chunk(&mut out, *b"IDAT", &stored(&rows));
    chunk(&mut out, *b"IEND", &[]);
    out
}

/// RFC 1950 around stored blocks of RFC 1951.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = data.chunks(usize::from(u16::MAX)).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    out.extend(((b << 16) | a).to_be_bytes());
    out
}

fn chunk(out: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    let start = out.len();
    out.extend(kind);
    out.extend(data);
    let sum = crc(&out[start..]);
    out.extend(sum.to_be_bytes());
}

/// CRC-32 of ISO 3309, bit by bit.
fn crc(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c: u32, _| if c & 1 == 1 { (c >> 1) ^ 0xedb8_8320 } else { c >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_standards() {
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
        assert!(stored(b"Wikipedia").ends_with(&0x11e6_0398_u32.to_be_bytes()));
    }

    #[test]
    fn a_picture_is_a_png_of_some_weight() {
        let picture = png("a.png");
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 50_000);
        assert_eq!(picture, png("a.png"));
        assert_ne!(picture, png("b.png"));
    }
}
