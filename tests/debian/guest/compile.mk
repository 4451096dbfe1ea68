# A program of many functions, compiled again and again by two at a time.

CC1 := $(lastword $(wildcard /usr/lib/gcc/*/*/cc1))

all: one.again two.again

%.again: program.i
	while $(CC1) -quiet -O2 -o $*.s program.i; do :; done

program.i:
	seq 2000 | sed 's/.*/unsigned f&(unsigned n) { unsigned i, s = &; for (i = 0; i < n; i++) { s = s * 31 + (s >> 7) % (i + &); } return s; }/' > $@
