//! Client tokens: the same call again creates nothing again.

use super::Call;
use super::error::Ec2Error;
use super::id::{hash, hex};
use super::request::Request;
use crate::control::{ClientToken, State};

/// So many are remembered; the oldest is forgotten first.
const TOKENS: usize = 1_000;
/// EC2 API Reference, Ensuring idempotency: at least 24 hours.
const LIFE_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// ASCII characters of a token.
const CHARACTERS: usize = 64;

fn key(request: &Request, token: &str) -> String {
    format!("{}\0{token}", request.action)
}

fn parameters(request: &Request) -> String {
    let parts: Vec<&str> = request.meaning().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect();
    hex(&hash("client token", &parts))
}

/// What was created under the token of this request, if it was made before.
pub(super) fn replayed<'s>(
    state: &'s State,
    request: &Request,
    call: &Call<'_>,
) -> Result<Option<&'s [String]>, Ec2Error> {
    let Some(token) = request.fields().text("ClientToken") else { return Ok(None) };
    if token.chars().count() > CHARACTERS || !token.is_ascii() {
        let message = format!("The client token must have at most {CHARACTERS} ASCII characters");
        return Err(Ec2Error::value(message));
    }
    let Some(found) = state.client_tokens.get(&key(request, token)) else { return Ok(None) };
    if call.now.millis().saturating_sub(found.created) > LIFE_MILLIS {
        return Ok(None);
    }
    if found.parameters != parameters(request) {
        let message = "The client token has already been used for another request with other parameters.";
        return Err(Ec2Error::new("IdempotentParameterMismatch", message));
    }
    Ok(Some(&found.resources))
}

/// Remembers what this request created.
pub(super) fn remember(state: &mut State, request: &Request, call: &Call<'_>, resources: Vec<String>) {
    let Some(token) = request.fields().text("ClientToken") else { return };
    let created = call.now.millis();
    state.client_tokens.retain(|_, token| created.saturating_sub(token.created) <= LIFE_MILLIS);
    if state.client_tokens.len() >= TOKENS
        && let Some(oldest) =
            state.client_tokens.iter().min_by_key(|(_, token)| token.created).map(|(key, _)| key.clone())
    {
        state.client_tokens.remove(&oldest);
    }
    let remembered = ClientToken { parameters: parameters(request), resources, created };
    state.client_tokens.insert(key(request, token), remembered);
}
