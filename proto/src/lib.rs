//! What Lacis control and agents say to each other: values and messages.
