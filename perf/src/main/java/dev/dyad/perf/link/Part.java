package dev.dyad.perf.link;

/** What {@code dyad perf link --only} chooses from; the names are those of the command line. */
enum Part {
  /** CPU time of posting a write. */
  post,
  bandwidth,
  /** Of 8 bytes and of a page. */
  commit,
  /** A commit of 100 and of 1,000 pages. */
  pages
}
