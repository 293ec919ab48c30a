//! What a place is good for, and how people say so.
//!
//! A place has a few moods; its reviews lead with one of them, and the visit's details (with whom, when, why) and the
//! voted keywords follow it. That is what gives a search such as "비 오는 날 혼자 먹기 좋은 국밥" an answer.

/// One thing a place may be known for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mood {
    Solo,
    Rain,
    Date,
    Party,
    Family,
    Kids,
    Quiet,
    Late,
    Value,
    View,
    Queue,
    Kind,
    Old,
    Parking,
}

/// All moods, in a fixed order.
pub(crate) const MOODS: [Mood; 14] = [
    Mood::Solo,
    Mood::Rain,
    Mood::Date,
    Mood::Party,
    Mood::Family,
    Mood::Kids,
    Mood::Quiet,
    Mood::Late,
    Mood::Value,
    Mood::View,
    Mood::Queue,
    Mood::Kind,
    Mood::Old,
    Mood::Parking,
];

impl Mood {
    /// What people write.
    #[expect(clippy::too_many_lines, reason = "a table, not a course of action")]
    pub(crate) fn sentences(self) -> &'static [&'static str] {
        match self {
            Self::Solo => &[
                "혼자 와도 전혀 눈치 안 주고 1인석이 따로 있어요",
                "혼밥하기 좋은 곳이라 퇴근길에 자주 들러요",
                "혼자서 {m} 하나 시키고 조용히 먹고 왔습니다",
                "바 자리가 있어서 혼자 먹기 편해요",
                "혼자 먹기 좋은 {m} 찾는다면 여기 추천",
                "혼밥 레벨 1도 가능한 분위기",
                "오늘도 혼자 와서 배 두드리며 나갑니다",
                "1인분도 반갑게 받아 주세요",
            ],
            Self::Rain => &[
                "비 오는 날 {m:이} 생각나서 일부러 왔어요",
                "비 오는 날에 오면 더 맛있는 집",
                "창가에 앉아 빗소리 들으며 {m} 먹는데 행복했어요",
                "장마철에 몸이 으슬으슬했는데 {m} 먹고 다 풀렸어요",
                "비가 주룩주룩 와도 여기는 꼭 옵니다",
                "비 오는 저녁에는 역시 {m}",
                "우산 쓰고 걸어온 보람이 있네요",
                "흐리고 비 오는 날이면 우리 집은 무조건 여기예요",
            ],
            Self::Date => &[
                "조명이 은은해서 데이트하기 좋아요",
                "기념일에 왔는데 작은 케이크까지 챙겨 주셔서 감동했어요",
                "여자친구가 너무 좋아해서 뿌듯했습니다",
                "소개팅 장소로 추천해요 대화하기 좋은 분위기",
                "남편이랑 오랜만에 둘이 데이트했어요",
                "테이블 간격이 넓어서 둘이 이야기하기 좋네요",
                "창가 자리 예약하면 분위기 끝판왕",
            ],
            Self::Party => &[
                "회식 장소로 열 명이 갔는데 자리가 넉넉했어요",
                "룸이 있어서 팀 회식하기 딱 좋습니다",
                "단체로 예약했는데 미리 다 준비해 두셨어요",
                "시끌벅적한 분위기라 모임하기 좋아요",
                "부장님도 만족하신 회식이었습니다",
                "동창 모임을 여기서 했는데 다들 또 오자고 하네요",
            ],
            Self::Family => &[
                "부모님 모시고 왔는데 아주 좋아하셨어요",
                "가족 외식으로 한 달에 한 번은 옵니다",
                "할머니가 옛날 맛이라고 하셨어요",
                "상견례까지는 아니어도 가족 모임에는 충분해요",
                "온 가족이 다 맛있게 먹은 집은 오랜만",
                "엄마 생신이라 왔는데 미역국을 챙겨 주셨어요",
            ],
            Self::Kids => &[
                "아기 의자가 있고 아이 먹을 것도 따로 챙겨 주셨어요",
                "아이와 함께 가기 좋아요 직원분들이 아이를 예뻐해 주세요",
                "다섯 살 아들이 {m:을} 혼자 다 먹었어요",
                "유모차 들어갈 공간이 넉넉합니다",
                "아이가 또 가자고 조르는 집",
                "아이 데리고 가도 눈치 보이지 않아서 좋았어요",
            ],
            Self::Quiet => &[
                "음악 소리가 작아서 조용히 이야기 나누기 좋아요",
                "평일 오후에 가면 한적하고 책 읽기 좋습니다",
                "골목 안쪽이라 조용하고 아늑해요",
                "혼자 생각 정리하고 싶을 때 찾는 곳",
                "노트북 하기에도 좋고 콘센트도 있어요",
                "차분한 분위기라 어른들 모시기에도 좋네요",
            ],
            Self::Late => &[
                "새벽까지 해서 야근 끝나고 들르기 좋아요",
                "늦은 밤에 {m} 먹을 수 있는 곳이 여기뿐이에요",
                "막차 끊기고 갈 곳 없을 때 구세주 같은 집",
                "밤 열두 시가 넘어도 손님이 가득",
                "2차로 왔다가 여기서 끝까지 있었습니다",
                "심야에 출출할 때 최고",
            ],
            Self::Value => &[
                "요즘 이 가격에 이 양이라니 말이 안 돼요",
                "가성비 최고입니다 {w}원에 배 터지게 먹었어요",
                "곱빼기를 추가 요금 없이 주세요",
                "물가가 다 올랐는데 여기만 그대로예요",
                "학생들한테 인기 많은 이유가 있네요 싸고 푸짐해요",
                "양이 정말 많아서 남은 건 포장해 왔어요",
            ],
            Self::View => &[
                "창밖으로 한강이 보여서 멍하니 앉아 있었어요",
                "루프톱 자리가 있는데 노을 질 때 꼭 가세요",
                "통창이라 햇살이 잘 들어와요",
                "인테리어가 감각적이라 사진 찍기 좋아요",
                "정원이 예뻐서 식사하고 산책까지 했어요",
                "야경 보면서 먹으니 더 맛있게 느껴지네요",
            ],
            Self::Queue => &[
                "주말에는 웨이팅이 기본 {k}분이에요",
                "오픈런 했는데도 앞에 열 팀이 있었어요",
                "{k}분 기다렸지만 먹고 나니 이해가 됐어요",
                "캐치테이블로 미리 줄 서고 가세요",
                "재료 소진으로 두 번 헛걸음하고 세 번째에 성공",
                "회전율이 빨라서 생각보다 금방 들어갔어요",
            ],
            Self::Kind => &[
                "사장님이 너무 친절하셔서 기분 좋게 먹었어요",
                "부족한 건 없는지 계속 살펴봐 주세요",
                "직원분들 표정이 밝아서 덩달아 기분이 좋아졌어요",
                "아이가 물을 쏟았는데 웃으면서 치워 주셨어요",
                "두 번째 방문인데 얼굴을 기억해 주셔서 놀랐어요",
                "물어보는 것마다 자세히 알려 주셨어요",
            ],
            Self::Old => &[
                "삼십 년 된 노포 감성 그대로예요",
                "어릴 때 아버지 손 잡고 오던 집인데 맛이 그대로네요",
                "허름해 보여도 내공이 느껴지는 집",
                "벽에 낙서까지 정겨운 오래된 가게",
                "동네 어르신들이 단골인 집은 다 이유가 있어요",
                "세월이 느껴지는 간판 보고 들어갔는데 대성공",
            ],
            Self::Parking => &[
                "주차장이 넓어서 차 가지고 가기 편해요",
                "발레 파킹이 돼서 부모님 모시고 가기 좋았어요",
                "건물 지하에 두 시간 무료 주차 됩니다",
                "{a}에서 주차 되는 집 찾기 힘든데 여기는 편해요",
                "가게 앞에 세 대 정도 세울 수 있어요",
            ],
        }
    }

    /// The voted keyword that goes with it: code and name.
    pub(crate) fn keyword(self) -> (&'static str, &'static str) {
        match self {
            Self::Solo => ("eat_alone", "혼밥하기 좋아요"),
            Self::Rain => ("weather_rain", "비 오는 날 가기 좋아요"),
            Self::Date => ("special_day", "특별한 날 가기 좋아요"),
            Self::Party => ("large", "단체모임 하기 좋아요"),
            Self::Family => ("together", "대화하기 좋아요"),
            Self::Kids => ("kids", "아이와 가기 좋아요"),
            Self::Quiet => ("calm", "차분한 분위기예요"),
            Self::Late => ("drink_good", "술이 다양해요"),
            Self::Value => ("price_cheap", "가성비가 좋아요"),
            Self::View => ("view_good", "뷰가 좋아요"),
            Self::Queue => ("food_special", "특별한 메뉴가 있어요"),
            Self::Kind => ("kind", "친절해요"),
            Self::Old => ("taste_traditional", "오래된 맛집이에요"),
            Self::Parking => ("parking_easy", "주차하기 편해요"),
        }
    }

    /// Short praise for the list of places.
    pub(crate) fn micro_review(self) -> &'static str {
        match self {
            Self::Solo => "혼자 가도 편한 집",
            Self::Rain => "비 오는 날 생각나는 집",
            Self::Date => "분위기 좋은 데이트 장소",
            Self::Party => "회식과 모임에 좋은 집",
            Self::Family => "부모님과 가기 좋은 집",
            Self::Kids => "아이와 함께 가기 좋은 집",
            Self::Quiet => "조용히 머물기 좋은 곳",
            Self::Late => "늦은 밤까지 여는 집",
            Self::Value => "값싸고 푸짐한 집",
            Self::View => "창밖 풍경이 좋은 곳",
            Self::Queue => "줄 서서 먹는 집",
            Self::Kind => "친절한 동네 가게",
            Self::Old => "오래된 동네 노포",
            Self::Parking => "주차가 편한 집",
        }
    }
}

/// What people write where a place is good both for rain and for one person.
pub(crate) const RAIN_ALONE: &[&str] = &[
    "비 오는 날 혼자 와서 {m:을} 남김없이 비웠어요",
    "비 오는 날 혼자 먹기 좋은 {m:이에요}",
    "비 내리는 저녁에 혼자 앉아 {m} 먹는 시간이 제일 좋아요",
    "비도 오고 혼자라 뜨끈한 게 당겨서 들어왔는데 성공",
    "혼자 우산 쓰고 가서 {m:으로} 속을 채우고 왔습니다",
];
