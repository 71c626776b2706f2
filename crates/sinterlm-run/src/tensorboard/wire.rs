//! The bytes of event files: protocol buffers, and the records that frame them. Which messages
//! there are is left to the parent module.

/// A protocol buffer message under construction, field by field
/// (<https://protobuf.dev/programming-guides/encoding/>).
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// How a field's value is laid out.
#[derive(Clone, Copy)]
enum Layout {
    Varint = 0,
    Fixed64 = 1,
    Sized = 2,
    Fixed32 = 5,
}

impl Message {
    pub(super) fn int(mut self, field: u64, value: u64) -> Self {
        self.key(field, Layout::Varint);
        self.varint(value);
        self
    }

    pub(super) fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, Layout::Fixed64);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, Layout::Fixed32);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn text(mut self, field: u64, value: &str) -> Self {
        self.sized(field, value.as_bytes());
        self
    }

    pub(super) fn message(mut self, field: u64, value: Self) -> Self {
        self.sized(field, &value.0);
        self
    }

    /// The message as a record of an event file: its length, the length's checksum, the message,
    /// its checksum (TensorFlow's `lib/io/record_writer.h`).
    pub(super) fn into_record(self) -> Vec<u8> {
        let length = (self.0.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(self.0.len() + 16);
        record.extend(length);
        record.extend(masked_checksum(&length).to_le_bytes());
        record.extend(&self.0);
        record.extend(masked_checksum(&self.0).to_le_bytes());
        record
    }

    fn key(&mut self, field: u64, layout: Layout) {
        self.varint(field << 3 | layout as u64);
    }

    fn sized(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, Layout::Sized);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// CRC-32C (Castagnoli), rotated and shifted so that checksums of data which holds checksums stay
/// strong (TensorFlow's `lib/hash/crc32c.h`).
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

/// The remainder of each byte by the reflected polynomial of RFC 3720, section 12.1.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        // Section B.4: 32 zeros, 32 ones, and the check value of the catalogue of CRCs.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn fields_are_encoded_as_the_specification_shows() {
        // The examples of the encoding guide: 150 in field 1, "testing" in field 2.
        assert_eq!(Message::default().int(1, 150).0, [0x08, 0x96, 0x01]);
        let text = Message::default().text(2, "testing").0;
        assert_eq!(text, [&[0x12, 0x07], b"testing".as_slice()].concat());
        let inner = Message::default().int(1, 150);
        let outer = Message::default().message(3, inner).0;
        assert_eq!(outer, [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }
}
