//! The NG control protocol, as Kamailio and OpenSIPS speak it to a media relay: what its bytes
//! mean. Sockets and calls are elsewhere.
//!
//! Decoding is tolerant, because the clients in the field are: keys come unsorted, integers come
//! as strings, words are spelt with spaces, hyphens or underscores. What is cut off in the middle
//! of a string is refused, for half an SDP is worse than none.

mod bencode;
mod cookie;
mod json;
mod reply;
mod request;
mod rtpp_flags;
mod value;

pub use cookie::{CookieCache, split_cookie};
pub use reply::{Reply, reason};
pub use request::{
    BlockRequest, CallerSide, DeleteRequest, ListRequest, MediaRequest, MuxPolicy, OfferRequest,
    QueryRequest, RefusedRequest, Request, RequestError, SdpOptions, Security,
};
pub use value::{DecodeError, Dict, Encoding, Value, canonical, decode, encode};

#[cfg(test)]
mod tests;
