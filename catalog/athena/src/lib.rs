//! The lake as AWS sees it: Glue's tables and Athena's answers.
