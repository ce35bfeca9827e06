# A symbol without what is of one build only: the hashes of crates, and the number that tells namesakes apart.
s/Cs[0-9A-Za-z]+_/C/g
/^_R/s/[.](llvm[.])?[0-9]+$//
