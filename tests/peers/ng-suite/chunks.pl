#!/usr/bin/env perl
# Runs the call tests of an NG suite one by one, against a daemon that is already up.
#
#   chunks.pl SUITE.pl [--only FILE]
#
# The file is cut where a test sets up a new call; what stands before the first cut is run once, in
# the same scope. Pieces that do not compile alone (a condition or a subroutine around several calls)
# are joined with the next. Each piece runs inside an eval, so that one that dies or times out does
# not take the others along, and is reported as
#
#   CHUNK PASS|FAIL LINE NAME
#
# FILE lists wanted pieces, "LINE NAME" a line; without it all run.
use strict;
use warnings;

# The suite leaves the process where a packet does not come; here that fails one piece only.
BEGIN { *CORE::GLOBAL::exit = sub { die "left with status @_\n" } }

our (@PIECES, %WANTED);

sub name_of {
	my ($text) = @_;
	return $text =~ /\b(?:offer|answer|publish)\(\s*(['"])(.*?)\1/s ? $2 : 'unnamed';
}

sub cut {
	my ($path) = @_;
	open(my $file, '<:raw', $path) or die "cannot read $path: $!\n";
	my ($preamble, @pieces) = ('');
	while (my $line = <$file>) {
		last if $line =~ /^__(?:END|DATA)__/;
		if ($line =~ /^(?:\([^()]*\)\s*=\s*)?new_call\b/) {
			push @pieces, { line => $., text => '' };
		}
		(@pieces ? $pieces[-1]{text} : $preamble) .= $line;
	}
	# What ends the whole run is no part of the last piece.
	$pieces[-1]{text} =~ s/^done_testing.*//ms if @pieces;
	return ($preamble, @pieces);
}

# Whether all results since the builder's count `$before` are good, and the failed ones' names.
sub failures {
	my ($before) = @_;
	my @results = Test::More->builder->details;
	return map { $_->{name} } grep { !$_->{ok} } @results[$before .. $#results];
}

sub report {
	my ($piece, $before, $error) = @_;
	my @failed = failures($before);
	push @failed, $error =~ s/\s+/ /gr if $error;
	my $verdict = @failed ? 'FAIL' : 'PASS';
	print STDERR "CHUNK $verdict $piece->{line} $piece->{name}\n";
	print STDERR "      $_\n" for map { substr($_, 0, 300) } @failed;
}

my $suite = shift @ARGV or die "usage: chunks.pl SUITE.pl [--only FILE]\n";
while (defined(my $option = shift @ARGV)) {
	if ($option eq '--only') {
		open(my $file, '<', shift @ARGV) or die "cannot read the list: $!\n";
		/^(\d+)\b/ and $WANTED{$1} = 1 while defined($_ = <$file>);
	}
	else { die "unknown option $option\n" }
}

my $preamble;
($preamble, @PIECES) = cut($suite);

# In the scope of the preamble, so that its variables and subroutines are there.
my $driver = <<'PERL';
;
my $piece_number = 0;
while ($piece_number < @main::PIECES) {
	my $piece = $main::PIECES[$piece_number++];
	my $code = eval "sub { $piece->{text}\n }";
	while (!$code && $piece_number < @main::PIECES) {
		my $more = $main::PIECES[$piece_number];
		my $joined = $piece->{text} . $more->{text};
		my $error = $@;
		# A piece that is wrong for another reason does not get better by joining.
		last if $error !~ /Missing right curly|Unmatched right curly|syntax error|Can't find string/;
		$piece_number++;
		$piece->{text} = $joined;
		$code = eval "sub { $joined\n }";
	}
	$piece->{name} = main::name_of($piece->{text});
	next if %main::WANTED && !$main::WANTED{$piece->{line}};
	my $before = Test::More->builder->current_test;
	if (!$code) {
		main::report($piece, $before, "does not compile: $@");
		next;
	}
	eval { $code->(); 1 } or do {
		my $error = $@ || 'died';
		alarm(0);
		main::report($piece, $before, $error);
		next;
	};
	alarm(0);
	main::report($piece, $before, '');
}
PERL
eval "no warnings;\n#line 1 \"$suite\"\n$preamble\n$driver\n1;" or die "the suite's preamble fails: $@\n";
Test::More->builder->no_ending(1);
