//! Takes choices out of bytes: numbers and pieces, zeros where they end.

pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Below `end`, which is above 0.
    pub fn below(&mut self, end: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number % end
    }

    pub fn number(&mut self) -> u64 {
        let bytes = self.take(8);
        let mut out = [0; 8];
        out[..bytes.len()].copy_from_slice(bytes);
        u64::from_be_bytes(out)
    }

    /// Numbers of the sizes that matter: all widths of a CBOR head.
    pub fn any_number(&mut self) -> u64 {
        let width = self.byte() % 64;
        self.number() >> width
    }

    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A piece with its length before it.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
