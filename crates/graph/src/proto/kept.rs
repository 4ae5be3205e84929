//! A message together with the fields that it does not declare.

use bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, decode_varint, encode_key, encode_varint, skip_field};
use prost::{DecodeError, Message};

use super::Fields;

/// `M`, and every field of it that `M` does not declare, in encoded form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kept<M> {
    pub(crate) message: M,
    pub(crate) rest: Vec<u8>,
}

impl<M: Fields> Message for Kept<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.message.encode_raw(buf);
        buf.put_slice(&self.rest);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if M::TAGS.contains(&tag) {
            return self.message.merge_field(tag, wire_type, buf, context);
        }
        // Length of the field's content; the content itself is checked by nobody, so it is copied as it is.
        let length = match wire_type {
            WireType::Varint => {
                let value = decode_varint(buf)?;
                encode_key(tag, wire_type, &mut self.rest);
                encode_varint(value, &mut self.rest);
                return Ok(());
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => decode_varint(buf)?,
            // The survey has refused files with groups; this one would be malformed.
            WireType::StartGroup | WireType::EndGroup => return skip_field(wire_type, tag, buf, context),
        };
        let content = usize::try_from(length).ok().filter(|&n| n <= buf.remaining());
        let Some(content) = content else {
            // Longer than what is left: the decoder's own error says so.
            return skip_field(wire_type, tag, &mut &[0x01_u8][..], context);
        };
        encode_key(tag, wire_type, &mut self.rest);
        if wire_type == WireType::LengthDelimited {
            encode_varint(length, &mut self.rest);
        }
        self.rest.put(buf.take(content));
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.message.encoded_len() + self.rest.len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NodeProto, OperatorSetIdProto};
    use super::*;

    #[test]
    fn unknown_fields_of_every_wire_type_survive() {
        let mut encoded = Vec::new();
        encode_key(900, WireType::Varint, &mut encoded);
        encode_varint(u64::MAX, &mut encoded);
        encode_key(901, WireType::SixtyFourBit, &mut encoded);
        encoded.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        encode_key(902, WireType::ThirtyTwoBit, &mut encoded);
        encoded.extend([9, 9, 9, 9]);
        encode_key(903, WireType::LengthDelimited, &mut encoded);
        encode_varint(3, &mut encoded);
        encoded.extend(b"abc");
        let node = Kept::<NodeProto>::decode(&*encoded).unwrap();
        assert_eq!(node.message, NodeProto::default());
        assert_eq!(node.encode_to_vec(), encoded);
    }

    #[test]
    fn an_unknown_field_longer_than_the_message_is_an_error() {
        let mut encoded = Vec::new();
        encode_key(903, WireType::LengthDelimited, &mut encoded);
        encode_varint(u64::MAX, &mut encoded);
        assert!(Kept::<NodeProto>::decode(&*encoded).is_err());
        encoded.clear();
        encode_key(901, WireType::SixtyFourBit, &mut encoded);
        encoded.extend([1, 2]);
        assert!(Kept::<NodeProto>::decode(&*encoded).is_err());
    }

    #[test]
    fn declared_fields_are_those_of_the_message() {
        let set = OperatorSetIdProto { domain: Some("d".into()), version: Some(3) };
        let kept = Kept::<OperatorSetIdProto>::decode(&*set.encode_to_vec()).unwrap();
        assert_eq!(kept, Kept { message: set, rest: Vec::new() });
    }
}
