//! The journal as the card plane sees it: processors' tokens, and what a person has found out.

use crate::{
    journal::{Journal, Phase},
    processor::{Later, Outcome, Token, TokenStore},
    proto::id::AttemptId,
};

impl TokenStore for Journal {
    fn ended(&self, attempt: AttemptId) -> Later<'_, Result<Option<Outcome>, String>> {
        Box::pin(async move {
            let row = self.attempt(attempt).await;
            let row = row.map_err(|error| error.to_string())?;
            Ok(row.and_then(|row| match row.phase {
                Phase::Result(outcome) if !outcome.is_open() => Some(outcome),
                Phase::Intent | Phase::Sending | Phase::Result(_) => None,
            }))
        })
    }

    fn keep(&self, attempt: AttemptId, token: Token) -> Later<'_, Result<(), String>> {
        Box::pin(async move {
            let kept = self.keep_token(attempt, token).await;
            kept.map_err(|error| error.to_string())
        })
    }

    fn kept(&self, attempt: AttemptId) -> Later<'_, Result<Option<Token>, String>> {
        Box::pin(async move {
            let token = self.token(attempt).await;
            token.map_err(|error| error.to_string())
        })
    }
}
