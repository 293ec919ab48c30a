//! A local server that behaves as language-model services do, by seed and switch.
