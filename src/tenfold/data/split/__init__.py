"""Hold-out rows and folds: at random, stratified, by group, by time."""
