"""Files that `deploy --to lava` copies beside the arrays. They import nothing of this package and are not imported by it."""
