//! The journal as the place where the card plane keeps processors' tokens.

use crate::{
    journal::Journal,
    processor::{Later, Token, TokenStore},
    proto::id::AttemptId,
};

impl TokenStore for Journal {
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
