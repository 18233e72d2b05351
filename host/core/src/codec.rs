//! This is how records and messages become bytes: big-endian integers and length-prefixed bytes,
//! with every length checked before anything is allocated.

/// Why bytes could not be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("the bytes end too early")]
    Short,
    /// Bytes are left over behind the value.
    #[error("bytes are left over")]
    Trailing,
    /// A length is above its limit.
    #[error("a length of {0} is above its limit")]
    TooLong(usize),
    /// A tag or number has no meaning here.
    #[error("`{0}` is not valid")]
    Invalid(&'static str),
}

/// What can be written as bytes and read back.
pub trait Codec: Sized {
    /// Appends the bytes of the value.
    fn encode(&self, writer: &mut Writer);

    /// Reads a value from the front of what is left.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not such a value.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The bytes of the value alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.encode(&mut writer);
        writer.into_bytes()
    }

    /// Reads a value that takes all of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not exactly such a value.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

impl<A: Codec, B: Codec> Codec for (A, B) {
    fn encode(&self, writer: &mut Writer) {
        self.0.encode(writer);
        self.1.encode(writer);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<(A, B), DecodeError> {
        Ok((A::decode(reader)?, B::decode(reader)?))
    }
}

/// Bytes being written.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends eight bytes of a number that may be negative.
    pub fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends sixteen bytes.
    pub fn u128(&mut self, value: u128) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// Appends bytes as they are; the reader must know how many.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends a count or length, in four bytes.
    ///
    /// # Panics
    /// When `len` is above 4 GiB, which no limit of this crate allows.
    pub fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("no limit of this crate allows 4 GiB"));
    }

    /// Appends bytes behind their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.raw(bytes);
    }

    /// Appends values behind their count.
    pub fn list<T: Codec>(&mut self, values: &[T]) {
        self.len(values.len());
        for value in values {
            value.encode(self);
        }
    }

    /// Appends 1 and the value, or 0 and the error.
    pub fn result<T: Codec, E: Codec>(&mut self, result: &Result<T, E>) {
        self.u8(u8::from(result.is_ok()));
        match result {
            Ok(value) => value.encode(self),
            Err(error) => error.encode(self),
        }
    }

    /// Appends 0, or 1 and the value.
    pub fn option<T: Codec>(&mut self, value: Option<&T>) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            value.encode(self);
        }
    }
}

/// Bytes being read.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes` from the front.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] when bytes are left over.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }

    /// Reads `len` bytes as they are.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when none is left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Reads two bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads four bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads eight bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads eight bytes of a number that may be negative.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Reads sixteen bytes.
    ///
    /// # Errors
    /// [`DecodeError::Short`] when fewer are left.
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_be_bytes)
    }

    /// Reads a count or length of at most `max`.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] above `max`, [`DecodeError::Short`] when the bytes end.
    pub fn len(&mut self, max: usize) -> Result<usize, DecodeError> {
        let len = self.u32()? as usize;
        if len <= max {
            Ok(len)
        } else {
            Err(DecodeError::TooLong(len))
        }
    }

    /// Reads bytes behind their length of at most `max`.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] above `max`, [`DecodeError::Short`] when the bytes end.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = self.len(max)?;
        self.raw(len)
    }

    /// Reads values behind their count of at most `max`.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] above `max`, or what the value's decoding gives.
    pub fn list<T: Codec>(&mut self, max: usize) -> Result<Vec<T>, DecodeError> {
        let count = self.len(max)?;
        (0..count).map(|_| T::decode(self)).collect()
    }

    /// Reads 0, or 1 and a value.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for another first byte, or what the value's decoding gives.
    pub fn option<T: Codec>(&mut self) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => T::decode(self).map(Some),
            _ => Err(DecodeError::Invalid("neither 0 nor 1")),
        }
    }

    /// Reads 1 and a value, or 0 and an error.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for another first byte, or what the decoding of either gives.
    pub fn result<T: Codec, E: Codec>(&mut self) -> Result<Result<T, E>, DecodeError> {
        match self.u8()? {
            0 => E::decode(self).map(Err),
            1 => T::decode(self).map(Ok),
            _ => Err(DecodeError::Invalid("neither 0 nor 1")),
        }
    }

    /// Reads text behind its length of at most `max` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when it is not UTF-8, and what [`Reader::bytes`] gives.
    pub fn text(&mut self, max: usize) -> Result<String, DecodeError> {
        let text = std::str::from_utf8(self.bytes(max)?);
        text.map(str::to_owned)
            .map_err(|_| DecodeError::Invalid("text that is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let mut writer = Writer::default();
        writer.u8(1);
        writer.u16(2);
        writer.u32(3);
        writer.u64(4);
        writer.u128(5);
        writer.bytes(b"six");
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.u128(), Ok(5));
        assert_eq!(reader.bytes(3), Ok(&b"six"[..]));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn refuses_short_long_and_left_over_bytes() {
        assert_eq!(Reader::new(&[0, 0]).u32(), Err(DecodeError::Short));
        assert_eq!(
            Reader::new(&[0, 0, 0, 9, 1]).bytes(8),
            Err(DecodeError::TooLong(9))
        );
        assert_eq!(
            Reader::new(&[0, 0, 0, 9, 1]).bytes(9),
            Err(DecodeError::Short)
        );
        assert_eq!(Reader::new(&[0]).finish(), Err(DecodeError::Trailing));
    }
}
