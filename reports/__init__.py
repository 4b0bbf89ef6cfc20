"""Everything that is made from a stream (docs/stream.md): verdicts folded again, outcomes, reports.

Nothing here knows beds, peers or the harness: the stream is all there is to read.
"""
