//! What an answer of the service that is none means: one place that reads its codes.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

use crate::error::Error;

/// A call that failed, with what is needed to say what to do about it.
#[derive(Debug)]
pub(super) struct Fault {
    kind: Kind,
    code: Option<String>,
    source: Box<dyn std::error::Error + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The request never got an answer.
    Unreachable,
    /// There is nobody to sign it.
    NoCredentials,
    /// The service said no.
    Service,
}

impl<E, R> From<SdkError<E, R>> for Fault
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code).map(str::to_owned);
        let kind = match &error {
            SdkError::ServiceError(_) => Kind::Service,
            SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_timeout() => Kind::Unreachable,
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Kind::Unreachable,
            // Signing comes before sending: what is neither network nor time is who signs.
            _ => Kind::NoCredentials,
        };
        Self { kind, code, source: Box::new(error) }
    }
}

impl Fault {
    /// One entry of a batch that the service did not take.
    pub(super) fn of_entry(code: &str, message: Option<&str>) -> Self {
        let text = message.map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"));
        Self { kind: Kind::Service, code: Some(code.to_owned()), source: text.into() }
    }

    pub(super) fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }

    pub(super) fn is_no_such_queue(&self) -> bool {
        self.code().contains("NonExistentQueue") || self.code().contains("QueueDoesNotExist")
    }

    /// Whether it is the receipt handle that was refused: expired, received by somebody else, gone, or held for twelve
    /// hours. Which code comes for which of them is not documented well enough to tell them apart.
    pub(super) fn is_lost_handle(&self) -> bool {
        const CODES: [&str; 5] = [
            "ReceiptHandleIsInvalid",
            "MessageNotInflight",
            "InvalidParameterValue",
            "InvalidIdFormat",
            "ResourceNotFoundException",
        ];
        self.kind == Kind::Service && CODES.iter().any(|code| self.code().contains(code))
    }

    fn is_denied(&self) -> bool {
        const CODES: [&str; 5] =
            ["AccessDenied", "InvalidClientTokenId", "UnrecognizedClient", "SignatureDoesNotMatch", "ExpiredToken"];
        CODES.iter().any(|code| self.code().contains(code))
    }

    pub(super) fn into_error(self, queue: &str, doing: &'static str) -> Error {
        let name = queue.rsplit('/').next().unwrap_or(queue);
        let hint = match self.kind {
            Kind::Unreachable => {
                "check the network, `endpoint` in [queue] and `region` in [aws]; what was under way is done again later"
                    .to_owned()
            }
            Kind::NoCredentials => {
                "give this program credentials: a profile (`profile` in [aws]), AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or a role; and a region: `region` in [aws]"
                    .to_owned()
            }
            Kind::Service if self.is_no_such_queue() => format!(
                "make it and its dead-letter queue: `aws sqs create-queue --queue-name {name}-dead`, then `aws sqs \
                 create-queue --queue-name {name} --attributes` with a RedrivePolicy that names it; or correct `uri` in [queue]"
            ),
            Kind::Service if self.is_denied() => {
                "let this program's role do sqs:SendMessage, ReceiveMessage, DeleteMessage, ChangeMessageVisibility, \
                 GetQueueAttributes and GetQueueUrl on the queue and its dead-letter queue"
                    .to_owned()
            }
            Kind::Service => "look at the queue in the service's console; nothing of the lake depends on it".to_owned(),
        };
        let retryable = match self.kind {
            Kind::Unreachable => true,
            Kind::NoCredentials => false,
            Kind::Service => !self.is_no_such_queue() && !self.is_denied(),
        };
        Error::QueueService { queue: queue.to_owned(), doing, hint, retryable, source: self.source }
    }
}
