"""What carrying a file costs, measured against its own base in the same run: ``make bench``.

::

    fake_s3   an S3 with a round trip and a line, in a process of its own
    rounds    who is measured against whom: A, B, C, then C, B, A; medians of per-round ratios
    wire      a browser at the level of WSGI; bodies that arrive as fast as a line lets them
    rivals    the same app five times: bare, ours, the article's, on local disk, at the limit
    figures   a figure, its target and its gate
    families  which ids are measured where; each module of ``families/`` measures its own
    table     figures → benchmarks/results.md
    plots     curves → docs/benchmarks/
"""
