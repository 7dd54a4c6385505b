"""The SFT paper's study on any data: experiments in, runs, statistics, claims and one page out."""
