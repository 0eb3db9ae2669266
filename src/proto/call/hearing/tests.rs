use super::{super::tests::leg, *};
use crate::proto::{
    codec::{Encoder, Form},
    rtp::write_header,
};

/// Takes all audio at the codec's rate.
#[derive(Default)]
struct Taken(Vec<i16>);

impl Sink for Taken {
    fn audio(&mut self, audio: &Audio<'_>, _: &Verdict) {
        self.0.extend_from_slice(match audio.form {
            Form::Wide(samples) => samples,
            Form::Narrow | Form::Codewords(..) => audio.samples,
        });
    }
    fn gap(&mut self, _: usize, _: &Verdict) {}
    fn mark(&mut self, _: &Verdict) {}
    fn pressed(&mut self) {}
    fn packet_time(&mut self, _: usize) {}
    fn restart(&mut self, _: i32, _: usize) {}
    fn source_changed(&mut self, _: u32) {
        self.0.clear();
    }
}

#[test]
fn nothing_of_a_source_is_heard_in_the_audio_of_the_one_that_took_over() {
    for codec in [AudioCodec::G722, AudioCodec::Opus, AudioCodec::G729] {
        let mut now = Now {
            instant: Instant::now(),
            utc: "2026-11-22T12:00:00Z".parse().unwrap(),
        };
        let samples = codec.rate_hz() as usize / 50;
        let ticks = codec.clock_hz() / 50;
        let mut media = leg(4_000);
        media.payload_types = vec![(96, Encoding::Audio(codec))];
        let types = PayloadTypes::of(&media, &media);
        // Hears one source, then another; what is heard of the last one.
        let mut hear = |sources: &[(u32, i16)]| {
            let mut hearing = Hearing::new(sources[0].0, 0, 0, codec, now);
            let mut taken = Taken::default();
            for &(ssrc, loudness) in sources {
                let mut encoder = Encoder::new(codec);
                for number in 0..20_u16 {
                    let said: Vec<i16> = (0..samples)
                        .map(|n| if n / 20 % 2 == 0 { loudness } else { -loudness })
                        .collect();
                    let mut payload = [0; 480];
                    let bytes = encoder.encode(&said, &mut payload);
                    let timestamp = u32::from(number) * ticks;
                    let header = write_header(96, false, number, timestamp, ssrc);
                    let datagram = [&header[..], &payload[..bytes]].concat();
                    let header = RtpHeader::parse(&datagram).unwrap();
                    let _ = hearing.handle(&datagram, &header, &types, &mut None, now, &mut taken);
                    now = now.after(Duration::from_millis(20));
                }
                now = now.after(Duration::from_millis(200));
            }
            taken.0
        };
        let alone = hear(&[(1, 0), (2, 40)]);
        assert!(alone.len() > 15 * samples);
        assert!(hear(&[(1, 9_000), (2, 40)]) == alone, "{codec:?}");
    }
}
