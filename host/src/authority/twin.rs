//! This is how two processes with one identity are told apart: whoever comes in under a name is
//! refused while another process answers to it, or refuses to speak with its twin.

use super::Inner;
use super::wire::{Answer, Request, To, WireError, ask};
use soros_core::map::Map;
use soros_core::map::node::Identity;
use std::time::Duration;

/// How long a node may take to show that it lives, before another takes its name.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether another process than `identity`'s answers to its name, where `map` has it. One that is
/// cut off from us does not; when it comes back it learns from the map that its name was taken.
pub(super) async fn lives(inner: &Inner, map: &Map, identity: &Identity) -> bool {
    let Some(known) = map.node(identity.id()).map(|node| &node.identity) else {
        return false;
    };
    let is_itself = known.incarnation == identity.incarnation || known.name != identity.name;
    if is_itself {
        return false;
    }
    let request = Request::Hello(Box::new(inner.hello().await));
    let to = To::Address(known.peer.clone());
    match ask(inner.wire(), &to, &request, ALIVE_TIMEOUT).await {
        Ok(Answer::Hello(hello)) => {
            let said = &hello.identity;
            said.name == identity.name && said.incarnation != identity.incarnation
        }
        Err(WireError::Twin) => identity.id() == inner.id(),
        _ => false,
    }
}
