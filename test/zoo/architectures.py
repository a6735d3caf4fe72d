"""The architectures of the zoo: two layers (but one of DeBERTa), hidden 32, four heads, 61 words.

Each builder returns a transformers model as its library would make it; what is
small here is only the size. Widths that a model allows to differ do differ
(key heads from query heads, head size times heads from hidden), since equal
ones hide errors.
"""

import dataclasses

import transformers

LAYERS, HIDDEN, HEADS, KV_HEADS, FFN, VOCAB, POSITIONS = 2, 32, 4, 2, 40, 61, 64
NARROW = 16  # hidden, where graphs are large
TEXT = ("input_ids", "attention_mask")


@dataclasses.dataclass
class Architecture:
    build: callable
    task: str       # optimum's name
    inputs: tuple
    causal: bool = False  # a decoder, which has a form with past keys and values


def layers(**changed):
    """What most configurations call their sizes."""
    return {**dict(vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                   intermediate_size=FFN, max_position_embeddings=POSITIONS), **changed}


def grouped(**changed):
    """The family of Llama: fewer key heads than query heads."""
    return layers(num_key_value_heads=KV_HEADS, bos_token_id=1, eos_token_id=2, pad_token_id=0, **changed)


def bert():
    return transformers.BertModel(transformers.BertConfig(**layers()))


def roberta():
    config = transformers.RobertaConfig(**layers(max_position_embeddings=POSITIONS + 2, type_vocab_size=1, num_labels=3))
    return transformers.RobertaForSequenceClassification(config)


def distilbert():
    config = transformers.DistilBertConfig(vocab_size=VOCAB, dim=HIDDEN, n_layers=LAYERS, n_heads=HEADS, hidden_dim=FFN,
                                           max_position_embeddings=POSITIONS)
    return transformers.DistilBertForSequenceClassification(config)


def albert():
    config = transformers.AlbertConfig(**layers(embedding_size=16, num_hidden_groups=1, num_labels=3))
    return transformers.AlbertForSequenceClassification(config)


def electra():
    config = transformers.ElectraConfig(**layers(embedding_size=16, num_labels=3))
    return transformers.ElectraForTokenClassification(config)


def deberta_v3():
    # One layer: the graph of each is as large as three of another architecture.
    config = transformers.DebertaV2Config(**layers(
        num_hidden_layers=1,
        relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm", share_att_key=True,
        pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0, num_labels=3))
    return transformers.DebertaV2ForSequenceClassification(config)


def gpt2():
    config = transformers.GPT2Config(vocab_size=VOCAB, n_embd=HIDDEN, n_layer=LAYERS, n_head=HEADS, n_inner=FFN,
                                     n_positions=POSITIONS, bos_token_id=1, eos_token_id=2)
    return transformers.GPT2LMHeadModel(config)


def gpt_neox():
    config = transformers.GPTNeoXConfig(**layers(rotary_pct=0.5))
    return transformers.GPTNeoXForCausalLM(config)


def opt():
    config = transformers.OPTConfig(vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=LAYERS, ffn_dim=FFN,
                                    num_attention_heads=HEADS, max_position_embeddings=POSITIONS, word_embed_proj_dim=HIDDEN)
    return transformers.OPTForCausalLM(config)


def bloom():
    config = transformers.BloomConfig(vocab_size=VOCAB, hidden_size=NARROW, n_layer=LAYERS, n_head=HEADS)
    return transformers.BloomForCausalLM(config)


def llama():
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**grouped()))


def mistral():
    return transformers.MistralForCausalLM(transformers.MistralConfig(**grouped(hidden_size=NARROW, sliding_window=8, head_dim=8)))


def qwen2():
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**grouped()))


def qwen3():
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**grouped(hidden_size=NARROW, head_dim=8)))


def gemma():
    return transformers.GemmaForCausalLM(transformers.GemmaConfig(**grouped(hidden_size=NARROW, head_dim=8)))


def phi():
    return transformers.PhiForCausalLM(transformers.PhiConfig(**layers(partial_rotary_factor=0.5)))


def mixtral():
    # One layer: TorchScript writes every expert out.
    config = transformers.MixtralConfig(**grouped(hidden_size=NARROW, num_hidden_layers=1, num_local_experts=4, num_experts_per_tok=2))
    return transformers.MixtralForCausalLM(config)


def t5():
    config = transformers.T5Config(vocab_size=VOCAB, d_model=NARROW, d_kv=8, d_ff=FFN, num_layers=1,
                                   num_decoder_layers=1, num_heads=HEADS, relative_attention_num_buckets=8, relative_attention_max_distance=16,
                                   decoder_start_token_id=0)
    return transformers.T5ForConditionalGeneration(config)


def bart():
    config = transformers.BartConfig(
        vocab_size=VOCAB, d_model=NARROW, encoder_layers=1, decoder_layers=LAYERS, encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS, encoder_ffn_dim=FFN, decoder_ffn_dim=FFN, max_position_embeddings=POSITIONS,
        forced_eos_token_id=2)
    return transformers.BartForConditionalGeneration(config)


def whisper():
    # The feature extractor's 30 seconds, which exporters insist on: a table of
    # 1500 positions, hence little width.
    config = transformers.WhisperConfig(
        vocab_size=VOCAB, d_model=8, encoder_layers=1, decoder_layers=LAYERS, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=FFN, decoder_ffn_dim=FFN, num_mel_bins=8, max_target_positions=POSITIONS,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3, suppress_tokens=None,
        begin_suppress_tokens=None)
    return transformers.WhisperForConditionalGeneration(config)


def vit():
    config = transformers.ViTConfig(hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                                    intermediate_size=FFN, image_size=32, patch_size=8, num_labels=5)
    return transformers.ViTForImageClassification(config)


def clip():
    # Two towers of one layer each.
    tower = dict(hidden_size=NARROW, num_hidden_layers=1, projection_dim=24)
    text = layers(**tower, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    vision = dict(tower, num_attention_heads=HEADS, intermediate_size=FFN, image_size=32, patch_size=8)
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))


def wav2vec2():
    config = transformers.Wav2Vec2Config(
        vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=FFN,
        conv_dim=(16, 16), conv_kernel=(5, 3), conv_stride=(3, 2), num_feat_extract_layers=2,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4, do_stable_layer_norm=False)
    return transformers.Wav2Vec2ForCTC(config)


CLASSIFY, GENERATE = "text-classification", "text-generation"
SEQ2SEQ = TEXT + ("decoder_input_ids",)
ARCHITECTURES = {
    "bert": Architecture(bert, "feature-extraction", TEXT + ("token_type_ids",)),
    "roberta": Architecture(roberta, CLASSIFY, TEXT),
    "distilbert": Architecture(distilbert, CLASSIFY, TEXT),
    "albert": Architecture(albert, CLASSIFY, TEXT + ("token_type_ids",)),
    "electra": Architecture(electra, "token-classification", TEXT + ("token_type_ids",)),
    "deberta-v3": Architecture(deberta_v3, CLASSIFY, TEXT),
    "gpt2": Architecture(gpt2, GENERATE, TEXT, causal=True),
    "gpt-neox": Architecture(gpt_neox, GENERATE, TEXT, causal=True),
    "opt": Architecture(opt, GENERATE, TEXT, causal=True),
    "bloom": Architecture(bloom, GENERATE, TEXT, causal=True),
    "llama": Architecture(llama, GENERATE, TEXT, causal=True),
    "mistral": Architecture(mistral, GENERATE, TEXT, causal=True),
    "qwen2": Architecture(qwen2, GENERATE, TEXT, causal=True),
    "qwen3": Architecture(qwen3, GENERATE, TEXT, causal=True),
    "gemma": Architecture(gemma, GENERATE, TEXT, causal=True),
    "phi": Architecture(phi, GENERATE, TEXT, causal=True),
    "mixtral": Architecture(mixtral, GENERATE, TEXT, causal=True),
    "t5": Architecture(t5, "text2text-generation", SEQ2SEQ),
    "bart": Architecture(bart, "text2text-generation", SEQ2SEQ),
    "whisper": Architecture(whisper, "automatic-speech-recognition", ("input_features", "decoder_input_ids")),
    "vit": Architecture(vit, "image-classification", ("pixel_values",)),
    "clip": Architecture(clip, "feature-extraction", ("input_ids", "pixel_values", "attention_mask")),
    "wav2vec2": Architecture(wav2vec2, "automatic-speech-recognition", ("input_values", "attention_mask")),
}
